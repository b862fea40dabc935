"""The replicas of a run: embedded ones, real vLLM on this machine, or somebody's own."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from balancer.core.types import EngineSample
from balancer.vllm_api.metrics import scan
from benchmarks import farm, replica
from benchmarks.processes import Child, NotServingError, all_cores, free_ports, started, wait_listening

_ANSWERS_WITHIN_S = 10.0
_QUIET_WITHIN_S = 120.0
_POLL_S = 0.1
_REAL_FLAGS = (
    *("--block-size", "32"),
    *("--max-model-len", "8192"),
    *("--max-num-seqs", "16"),
    *("--kv-cache-memory-bytes", "64M"),
    "--enable-prompt-tokens-details",
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Replicas that serve. `children` are their processes, where they are ours."""

    urls: Sequence[str]
    model: str
    children: Sequence[Child] = ()

    async def samples(self) -> dict[str, EngineSample]:
        """What the metrics page of each says. Raises: NotServingError."""
        async with _session() as session:
            pages = await asyncio.gather(*(_page(session, f"{url}/metrics") for url in self.urls))
        return {url: scan(page, 0.0) for url, page in zip(self.urls, pages, strict=True)}

    async def reset(self, quiet_within_s: float = _QUIET_WITHIN_S) -> None:
        """Forget all prefixes, once nothing is computed any more. Raises: NotServingError, if that can't be had."""
        deadline = time.monotonic() + quiet_within_s
        while any(sample.running or sample.waiting for sample in (await self.samples()).values()):
            if time.monotonic() > deadline:
                raise NotServingError(f"replicas still compute after {quiet_within_s:g} s")
            await asyncio.sleep(_POLL_S)
        async with _session() as session:
            await asyncio.gather(*(_reset(session, url) for url in self.urls))


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
            children.append(stack.enter_context(started(command, cores=cores or all_cores(), log=log)))
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
    with started(command, cores=cores or all_cores(), log=log) as child:
        farm.wait_ready(child, log, count)
        yield Fleet(_urls(ports), farm.MODEL, [child])


async def external(urls: Sequence[str]) -> Fleet:
    """Replicas that run already; the first one names the model."""
    own = [url.rstrip("/") for url in urls]
    return Fleet(own, await first_model(own[0]))


async def first_model(url: str, api_key: str | None = None) -> str:
    """The first model that a server lists. Raises: NotServingError, where it lists none."""
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    async with _session() as session:
        status, listed = await _ask(session, "GET", f"{url}/v1/models", headers)
    models: list[dict[str, Any]] = listed.get("data") or [] if isinstance(listed, dict) else []
    if status != 200 or not models:
        raise NotServingError(f"{url}/v1/models: expected a model, got status {status}")
    return str(models[0].get("id"))


async def metrics_page(url: str) -> bytes:
    """Raises: NotServingError, where there is none."""
    async with _session() as session:
        return await _page(session, url)


def _urls(ports: Sequence[int]) -> list[str]:
    return [f"http://127.0.0.1:{port}" for port in ports]


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWERS_WITHIN_S))


async def _page(session: aiohttp.ClientSession, url: str) -> bytes:
    try:
        async with session.get(url) as answer:
            answer.raise_for_status()
            return await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotServingError(f"{url}: expected a page, got {error or 'nothing'}") from error


async def _reset(session: aiohttp.ClientSession, url: str) -> None:
    status, told = await _ask(session, "POST", f"{url}/reset_prefix_cache")
    if status != 200 or (isinstance(told, dict) and told.get("success") is False):
        raise NotServingError(
            f"{url}/reset_prefix_cache: expected success, got status {status} and {told!r}; "
            "vLLM has the route with VLLM_SERVER_DEV_MODE=1"
        )


async def _ask(
    session: aiohttp.ClientSession, method: str, url: str, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    """Status and JSON body, None where it is not JSON."""
    try:
        async with session.request(method, url, headers=headers) as answer:
            with contextlib.suppress(ValueError, aiohttp.ContentTypeError):
                return answer.status, await answer.json()
            return answer.status, None
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotServingError(
            f"{url}: expected an answer, but it can't be reached: {error or 'no answer in time'}"
        ) from error
