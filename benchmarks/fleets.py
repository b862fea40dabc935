"""The replicas of a run: embedded ones, real vLLM on this machine, or somebody's own."""

import asyncio
import contextlib
import operator
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from pathlib import Path
from typing import Any, Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from balancer.vllm_api.metrics import scan
from benchmarks import farm, replica
from benchmarks.processes import Child, NotServingError, free_ports, started, wait_listening

_ANSWERS_WITHIN_S = 10.0
_QUIET_WITHIN_S = 120.0
_POLL_S = 0.1
_FINISHED = "vllm:request_success_total"
_REAL_FLAGS = (
    *("--block-size", "32"),
    *("--max-model-len", "8192"),
    *("--max-num-seqs", "16"),
    *("--kv-cache-memory-bytes", "64M"),
    "--enable-prompt-tokens-details",
)


@dataclass(frozen=True, slots=True)
class Counters:
    """What one replica's metrics page tells; None where it does not."""

    prefix_queries_tokens: float | None
    prefix_hits_tokens: float | None
    prompt_tokens: float | None
    generation_tokens: float | None
    preemptions: float | None
    finished_requests: float | None

    def since(self, before: Self) -> Self:
        """The differences; None where either is."""
        return self._with(before, operator.sub)

    def plus(self, other: Self) -> Self:
        """The sums; None where either is."""
        return self._with(other, operator.add)

    @property
    def hit_rate(self) -> float | None:
        """Cached share of the prompt tokens that were looked up; None where none was."""
        if not self.prefix_queries_tokens or self.prefix_hits_tokens is None:
            return None
        return self.prefix_hits_tokens / self.prefix_queries_tokens

    def _with(self, other: Self, join: Callable[[float, float], float]) -> Self:
        pairs = [(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)]
        return type(self)(*(None if a is None or b is None else join(a, b) for a, b in pairs))


@dataclass(frozen=True, slots=True)
class Load:
    """Requests on one replica at a moment."""

    running: float | None
    waiting: float | None


@dataclass(frozen=True, slots=True)
class Fleet:
    """Replicas that serve. `children` are their processes, where they are ours."""

    urls: Sequence[str]
    model: str
    children: Sequence[Child] = ()

    async def counters(self) -> dict[str, Counters]:
        async with _session() as session:
            pages = await asyncio.gather(*(_page(session, url) for url in self.urls))
        return {url: counters_of(page) for url, page in zip(self.urls, pages, strict=True)}

    async def loads(self) -> dict[str, Load]:
        async with _session() as session:
            pages = await asyncio.gather(*(_page(session, url) for url in self.urls))
        samples = (scan(page, 0.0) for page in pages)
        return {
            url: Load(sample.running, sample.waiting) for url, sample in zip(self.urls, samples, strict=True)
        }

    async def reset(self, quiet_within_s: float = _QUIET_WITHIN_S) -> None:
        """Forget all prefixes, once nothing is computed any more. Raises: NotServingError, if that can't be had."""
        deadline = time.monotonic() + quiet_within_s
        while any(load.running or load.waiting for load in (await self.loads()).values()):
            if time.monotonic() > deadline:
                raise NotServingError(f"replicas still compute after {quiet_within_s:g} s")
            await asyncio.sleep(_POLL_S)
        async with _session() as session:
            await asyncio.gather(*(_reset(session, url) for url in self.urls))


def total(counters: Iterable[Counters]) -> Counters:
    """Of a whole fleet."""
    return reduce(Counters.plus, counters)


def counters_of(page: bytes) -> Counters:
    sample = scan(page, 0.0)
    return Counters(
        sample.prefix_queries_tokens,
        sample.prefix_hits_tokens,
        sample.prompt_tokens,
        sample.generation_tokens,
        sample.preemptions,
        _finished_requests(page),
    )


@contextlib.contextmanager
def embedded(
    count: int,
    profile: str,
    folder: Path,
    *,
    scale: int = 1,
    kv_capacity_tokens: int | None = None,
    cores: frozenset[int] | None = None,
) -> Iterator[Fleet]:
    """Embedded replicas, cold. Capacity is of the whole size: `scale` makes it smaller, as it does tokens."""
    ports = free_ports(count)
    options = ["--profile", profile, "--scale", str(scale)]
    if kv_capacity_tokens is not None:
        options += ["--kv-capacity-tokens", str(kv_capacity_tokens)]
    with contextlib.ExitStack() as stack:
        children = []
        for port in ports:
            command = [sys.executable, "-m", "benchmarks.replica", "--port", str(port), *options]
            log = folder / f"replica-{port}.log"
            children.append(stack.enter_context(started(command, cores=cores or _all_cores(), log=log)))
        for child, port in zip(children, ports, strict=True):
            wait_listening(child, port)
        yield Fleet(_urls(ports), replica.MODEL, children)


@contextlib.contextmanager
def real_vllm(count: int, folder: Path, *, cores: frozenset[int] | None = None) -> Iterator[Fleet]:
    """Real vLLM replicas of a small model on this machine's CPU. Raises: ValueError, if vLLM is not installed."""
    python = farm.interpreter(farm.VENV, "--real-vllm")
    model = farm.make_model(python, folder / "model")
    ports = free_ports(count)
    log = folder / "launcher.log"
    command = farm.launcher(python, model, ports, folder, _REAL_FLAGS)
    with started(command, cores=cores or _all_cores(), log=log) as child:
        farm.wait_ready(child, log, count)
        yield Fleet(_urls(ports), farm.MODEL, [child])


async def external(urls: Sequence[str]) -> Fleet:
    """Replicas that run already; the first one names the model."""
    own = [url.rstrip("/") for url in urls]
    async with _session() as session:
        status, listed = await _ask(session, "GET", f"{own[0]}/v1/models")
    models: list[dict[str, Any]] = listed.get("data") or [] if isinstance(listed, dict) else []
    if status != 200 or not models:
        raise NotServingError(f"{own[0]}/v1/models: expected a model, got status {status}")
    return Fleet(own, str(models[0].get("id")))


def _urls(ports: Sequence[int]) -> list[str]:
    return [f"http://127.0.0.1:{port}" for port in ports]


def _all_cores() -> frozenset[int]:
    return frozenset(os.sched_getaffinity(0))


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWERS_WITHIN_S))


async def _page(session: aiohttp.ClientSession, url: str) -> bytes:
    try:
        async with session.get(f"{url}/metrics") as answer:
            answer.raise_for_status()
            return await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotServingError(f"{url}/metrics: expected a page, got {error or 'nothing'}") from error


async def _reset(session: aiohttp.ClientSession, url: str) -> None:
    status, told = await _ask(session, "POST", f"{url}/reset_prefix_cache")
    if status != 200 or (isinstance(told, dict) and told.get("success") is False):
        raise NotServingError(
            f"{url}/reset_prefix_cache: expected success, got status {status} and {told!r}; "
            "vLLM has the route with VLLM_SERVER_DEV_MODE=1"
        )


async def _ask(session: aiohttp.ClientSession, method: str, url: str) -> tuple[int, Any]:
    """Status and JSON body, None where it is not JSON."""
    try:
        async with session.request(method, url) as answer:
            with contextlib.suppress(ValueError, aiohttp.ContentTypeError):
                return answer.status, await answer.json()
            return answer.status, None
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotServingError(f"{url}: expected an answer, got {error or 'nothing'}") from error


def _finished_requests(page: bytes) -> float | None:
    """Any bytes will do, as for `scan`."""
    try:
        families = list(text_string_to_metric_families(page.decode()))
    except ValueError:
        return None
    values = [each.value for family in families for each in family.samples if each.name == _FINISHED]
    return sum(values) if values else None
