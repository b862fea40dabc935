"""A replica is killed in the middle of a stream, again and again: another goes on, and the client sees one answer.

KILLS says how often; the full proof is twenty of each kind.
"""

import json
import os
import re
import signal
from random import Random

import pytest

from tests.real_vllm.wire import MODEL, ask, connection, prose, send, until

pytestmark = [pytest.mark.real_vllm, pytest.mark.timeout(900)]

KILLS = int(os.environ.get("KILLS", "3"))
TOKENS, DELIVERED = 60, 25
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
SEAM = re.compile(rb": balancer: resumed after (\d+) tokens\n\n")


def greedy(path, text):
    prompt = {"messages": [{"role": "user", "content": text}]} if path == CHAT else {"prompt": text}
    usage = {"stream_options": {"include_usage": True}}
    return (
        {"model": MODEL, "stream": True, "temperature": 0, "max_tokens": TOKENS, "ignore_eos": True}
        | prompt
        | usage
    )


def chunks(body: bytes) -> list[dict]:
    data = [event[6:] for event in body.split(b"\n\n") if event.startswith(b"data: ")]
    return [json.loads(each) for each in data if each != b"[DONE]"]


def text_of(body: bytes) -> str:
    choices = [choice for chunk in chunks(body) for choice in chunk["choices"]]
    return "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices)


def serving(balancer: str) -> str | None:
    """The replica that has something in flight."""
    page = ask(balancer, "/metrics").body.decode()
    busy = re.findall(r'^balancer_requests_in_flight\{replica="([^"]+)"\} 1\.0', page, re.MULTILINE)
    return f"http://{busy[0]}" if busy else None


def disturbed(balancer: str, replicas: dict[str, int], path: str, body: dict) -> bytes:
    """The answer to a stream whose replica is killed after some tokens."""
    with connection(balancer) as conn:
        send(conn, path, body)
        answer = conn.getresponse()
        raw = b""
        while raw.count(b"data: ") < DELIVERED:
            raw += answer.readline()
        victim = serving(balancer)
        assert victim is not None
        killed = replicas[victim]
        os.kill(killed, signal.SIGKILL)
        raw += answer.read()
    assert until(lambda: replicas[victim] != killed, within_s=60)
    assert until(
        lambda: (
            f'balancer_replica_healthy{{replica="{victim[7:]}"}} 1.0'
            in ask(balancer, "/metrics").body.decode()
        ),
        within_s=30,
    )
    return raw


def check_one_answer(raw: bytes, whole: bytes) -> None:
    """All that an undisturbed answer has but its text."""
    assert raw.endswith(b"data: [DONE]\n\n")
    assert len({chunk["id"] for chunk in chunks(raw)}) == 1
    assert raw.count(b'"role"') == whole.count(b'"role"')
    assert b"token_ids" not in raw or b"token_ids" in whole
    *_, last, usage = chunks(raw)
    assert last["choices"][0]["finish_reason"] == "length"
    assert (
        usage["usage"]["total_tokens"]
        == usage["usage"]["prompt_tokens"] + usage["usage"]["completion_tokens"]
    )


@pytest.fixture(scope="module")
def mortals(farm):
    with farm(3, "--restart") as ready:
        yield ready


def test_by_ids_the_answer_is_the_undisturbed_one(mortals, balance):
    rng = Random("exact")
    resumed = 0
    with balance(list(mortals), "--resume", "exact") as balancer:
        for number in range(KILLS):
            path = (CHAT, COMPLETIONS)[number % 2]
            body = greedy(path, prose(rng, words=30))
            whole = ask(next(iter(mortals)), path, body).body
            raw = disturbed(balancer, mortals, path, body)
            assert text_of(raw) == text_of(whole), f"kill {number}"
            check_one_answer(raw, whole)
            usage, wanted = (chunks(answer)[-1]["usage"] for answer in (raw, whole))
            assert [usage[name] for name in COUNTS] == [wanted[name] for name in COUNTS]
            resumed += len(SEAM.findall(raw))
    assert resumed == KILLS


def test_by_text_the_answer_goes_on_from_what_was_delivered(mortals, balance):
    rng = Random("text")
    with balance(list(mortals)) as balancer:
        for number in range(KILLS):
            path = (CHAT, COMPLETIONS)[number % 2]
            body = greedy(path, prose(rng, words=30))
            whole = ask(next(iter(mortals)), path, body).body
            raw = disturbed(balancer, mortals, path, body)
            [tokens] = SEAM.findall(raw)
            before = text_of(SEAM.split(raw)[0])
            assert text_of(whole).startswith(before)
            left = TOKENS - int(tokens)
            if path == CHAT:
                open_turn = {"role": "assistant", "content": before.rstrip()}
                rest = {
                    "messages": [*body["messages"], open_turn],
                    "add_generation_prompt": False,
                    "continue_final_message": True,
                }
            else:
                rest = {"prompt": body["prompt"] + before}
            goes_on = text_of(ask(next(iter(mortals)), path, body | rest | {"max_tokens": left}).body)
            if path == CHAT:  # whitespace before the seam may come again behind it, and is given once
                for mark in before[len(before.rstrip()) :]:
                    if not goes_on.startswith(mark):
                        break
                    goes_on = goes_on[1:]
            assert text_of(raw) == before + goes_on
            check_one_answer(raw, whole)
