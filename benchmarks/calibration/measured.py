"""A point on a real vLLM, over HTTP: exact prompts as token ids, greedy, exactly so many tokens back.

The replica runs with VLLM_SERVER_DEV_MODE=1 (for /reset_prefix_cache) and --enable-prompt-tokens-details, and serves
nobody else meanwhile.
"""

import asyncio
import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import aiohttp

from balancer.core.types import EngineSample
from balancer.vllm_api.metrics import scan
from benchmarks.calibration.modelled import Setting
from benchmarks.calibration.points import Call, Course, Kind, Measured, Outcome, Point

_TIMEOUT_S = 120
_DATA = b"data: "
_IDLE_POLLS = 50
_POLL_S = 0.02


class UnfitError(ValueError):
    """The replica cannot be measured, and why."""


class Replica:
    """One vLLM that is there already. Use it as a context."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._model = ""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def setting(self, *, max_num_seqs: int, max_num_batched_tokens: int) -> Setting:
        """Read what the replica tells of itself; the two limits of a step it tells nobody."""
        self._model = await self._told("/v1/models", "data", 0, "id")
        max_model_len = await self._told("/v1/models", "data", 0, "max_model_len")
        sample = await self._sample()
        if sample.block_size_tokens is None or sample.kv_capacity_tokens is None:
            raise UnfitError(
                f"{self.url}/metrics: expected vllm:cache_config_info with block_size and blocks"
            )
        return Setting(
            block_size=sample.block_size_tokens,
            # One block, vLLM's null block, never holds anything.
            kv_capacity_tokens=sample.kv_capacity_tokens - sample.block_size_tokens,
            max_model_len=max_model_len,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
        )

    async def version(self) -> str:
        return str(await self._told("/version", "version"))

    async def measure(
        self, points: list[Point], rounds: int, advance: Callable[[], None]
    ) -> dict[str, Measured]:
        """Run each point once unmeasured (kernels are made for shapes at first sight), then in interleaved rounds."""
        outcomes: dict[str, list[Outcome]] = {point.name: [] for point in points}
        for index in range(rounds + 1):
            for point in points:
                outcome = await self._once(point)
                if index:
                    outcomes[point.name].append(outcome)
                advance()
        return {point.name: Measured.of(point.kind, outcomes[point.name]) for point in points}

    async def _once(self, point: Point) -> Outcome:
        await self._reset()
        for call in point.warming:
            await self._ask(call, self._body(call), Course(0.0), time.monotonic())
        before = (await self._sample()).preemptions if point.kind is Kind.PREEMPTED else None
        ready = [(call, self._body(call), Course(call.at_s)) for call in point.calls]
        began_s = time.monotonic()
        await asyncio.gather(*(self._ask(*each, began_s) for each in ready))
        courses = [course for _, _, course in ready]
        return Outcome(courses, None if before is None else await self._preemptions_since(before))

    async def _reset(self) -> None:
        async with self._session.post(f"{self.url}/reset_prefix_cache") as response:
            if response.status != 200:
                raise UnfitError(
                    f"{self.url}/reset_prefix_cache: expected status 200, got {response.status}; "
                    "is it started with VLLM_SERVER_DEV_MODE=1?"
                )

    async def _preemptions_since(self, before: float) -> float | None:
        """Once the page tells of no running request: it may lag behind the answers."""
        for _ in range(_IDLE_POLLS):
            sample = await self._sample()
            if not sample.running:
                return None if sample.preemptions is None else sample.preemptions - before
            await asyncio.sleep(_POLL_S)
        return None

    async def _ask(self, call: Call, body: bytes, course: Course, began_s: float) -> None:
        await asyncio.sleep(began_s + call.at_s - time.monotonic())
        course.sent_s = time.monotonic() - began_s
        headers = {"Content-Type": "application/json"}
        async with self._session.post(f"{self.url}/v1/completions", data=body, headers=headers) as response:
            if response.status != 200:
                raise UnfitError(f"{self.url}: expected an answer, got {(await response.text())[:300]!r}")
            async for line in response.content:
                if line.startswith(_DATA + b"{"):
                    _note(json.loads(line.removeprefix(_DATA)), course, time.monotonic() - began_s)
        if len(course.token_s) != call.output_tokens:
            raise UnfitError(
                f"{self.url}: expected {call.output_tokens} token_ids in the stream, got {len(course.token_s)}"
            )

    def _body(self, call: Call) -> bytes:
        body = {
            "model": self._model,
            "prompt": call.prompt(),
            "max_tokens": call.output_tokens,
            "min_tokens": call.output_tokens,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
        }
        return json.dumps(body).encode()

    async def _sample(self) -> EngineSample:
        return scan(await self._get("/metrics"), taken_at=time.monotonic())

    async def _told(self, path: str, *keys: str | int) -> Any:
        """One value of a JSON answer."""
        body = await self._get(path)
        try:
            value = json.loads(body)
            for key in keys:
                value = value[key]
        except (ValueError, LookupError, TypeError) as error:
            raise UnfitError(f"{self.url}{path}: expected JSON with {'.'.join(map(str, keys))}") from error
        return value

    async def _get(self, path: str) -> bytes:
        async with self._session.get(self.url + path) as response:
            if response.status != 200:
                raise UnfitError(f"{self.url}{path}: expected status 200, got {response.status}")
            return await response.read()


def _note(event: dict[str, Any], course: Course, now_s: float) -> None:
    """One event of a stream; it may carry several tokens, and usage comes with the last."""
    if "error" in event:
        raise UnfitError(f"expected tokens, got {event['error']}")
    for choice in event.get("choices", ()):
        course.token_s.extend(now_s for _ in choice.get("token_ids") or ())
    if details := (event.get("usage") or {}).get("prompt_tokens_details"):
        course.cached_tokens = details.get("cached_tokens")
