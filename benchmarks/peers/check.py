"""Whether a peer passes chats on unharmed: the same questions to it and to a replica, whole and streamed."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from balancer.vllm_api.events import DONE
from benchmarks.peers.peer import Peer
from benchmarks.workloads.script import CHAT_PATH

QUESTIONS = 10
"""Each is asked whole and streamed."""

_OUTPUT_TOKENS = 8
_ANSWERS_WITHIN_S = 60.0
_DATA = b"data: {"


class HarmedError(Exception):
    """What came back is not a whole answer, or another one than the replica's own."""


async def check(peer: Peer, url: str, replica_url: str, model: str) -> None:
    """Raises: HarmedError, with the first difference. What a peer's own replicas say is compared with nothing."""
    timeout = aiohttp.ClientTimeout(total=_ANSWERS_WITHIN_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for number in range(QUESTIONS):
            body = _body(model, number)
            headers = {peer.session_header: f"check-{number}"} if peer.session_header else {}
            whole, streamed = await asyncio.gather(
                _whole(session, url, body, headers), _streamed(session, url, body, headers)
            )
            if peer.own_replicas:
                continue
            truth = await _whole(session, replica_url, body, {})
            for kind, text in (("whole", whole), ("streamed", streamed)):
                if text != truth:
                    raise HarmedError(f"question {number}, {kind}: expected {truth!r}, got {text!r}")


def _body(model: str, number: int) -> dict[str, Any]:
    """Greedy, so that every replica says the same."""
    question = f"Question {number}: what does a cache hold?"
    return {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": _OUTPUT_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
    }


async def _whole(
    session: aiohttp.ClientSession, url: str, body: Mapping[str, Any], headers: Mapping[str, str]
) -> str:
    answer = json.loads(await _ask(session, url, body, headers))
    (choice,) = answer["choices"]
    _expect_end(choice, answer["usage"])
    return str(choice["message"]["content"])


async def _streamed(
    session: aiohttp.ClientSession, url: str, body: Mapping[str, Any], headers: Mapping[str, str]
) -> str:
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    raw = await _ask(session, url, asked, headers)
    if not raw.endswith(DONE):
        raise HarmedError(f"a stream: expected [DONE] at its end, got {raw[-80:]!r}")
    events = [json.loads(line.removeprefix(b"data: ")) for line in raw.splitlines() if line.startswith(_DATA)]
    choices = [choice for event in events for choice in event["choices"]]
    usages = [event["usage"] for event in events if event.get("usage")]
    ends = [choice for choice in choices if choice.get("finish_reason")]
    if len(ends) != 1 or not usages:
        raise HarmedError(f"a stream: expected one end and usage, got {len(ends)} and {len(usages)}")
    _expect_end(ends[0], usages[-1])
    return "".join(choice["delta"].get("content") or "" for choice in choices)


async def _ask(
    session: aiohttp.ClientSession, url: str, body: Mapping[str, Any], headers: Mapping[str, str]
) -> bytes:
    try:
        async with session.post(f"{url}{CHAT_PATH}", json=body, headers=headers) as answer:
            raw = await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise HarmedError(f"expected an answer, got {error!r}") from error
    if answer.status != 200:
        raise HarmedError(f"expected status 200, got {answer.status}: {raw[:200]!r}")
    return raw


def _expect_end(choice: Mapping[str, Any], usage: Mapping[str, Any]) -> None:
    found = choice["finish_reason"], usage["completion_tokens"]
    if found != ("length", _OUTPUT_TOKENS):
        raise HarmedError(f"expected an end by length after {_OUTPUT_TOKENS} tokens, got {found}")
