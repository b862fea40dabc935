"""Streams through a balancer with a large fleet, with and without a scraper: the gaps between their chunks.

Every replica is a listener of this process, whose chunks leave as wheels turn (benchmarks/backend.py). Windows alternate, so
that a machine that slows down slows both.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.backend import serving
from benchmarks.load.client import Answer, Client, Expected, LoadConnection, post
from benchmarks.overhead.bodies import PATH
from benchmarks.processes import Child, all_cores, free_ports, split_cores, started, wait_listening

CHUNKS_PER_S = 25.0
"""Of each stream: a model that generates so many tokens a second."""

_WARM_S = 1.0
_MANY = 1_000_000


@dataclass(slots=True)
class Gaps:
    """Seconds between chunks, by whether somebody scraped, and how long each scrape took its scraper."""

    quiet_s: list[float] = field(default_factory=list)
    scraped_s: list[float] = field(default_factory=list)
    scrapes_s: list[float] = field(default_factory=list)
    page_bytes: int = 0


class _Stream(LoadConnection):
    """Notes when chunks come, where somebody wants to know."""

    def __init__(self) -> None:
        super().__init__()
        self.gaps: list[float] | None = None
        self._last_s = 0.0

    def on_body(self, data: bytes) -> None:
        now = time.monotonic()
        if self.gaps is not None and self._last_s:
            self.gaps.append(now - self._last_s)
        self._last_s = now


async def gaps(
    folder: Path,
    advance: Callable[[str], None],
    *,
    replicas: int,
    models: int,
    streams: int,
    windows: int,
    window_s: float,
    interval_s: float,
) -> Gaps:
    """`windows` of each kind; every scrape comes `interval_s` after the one before."""
    cores = split_cores(all_cores())
    names = [f"model-{number}" for number in range(models)]
    found = Gaps()
    async with contextlib.AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(serving(0, 1, CHUNKS_PER_S)) for _ in range(replicas)]
        (port,) = free_ports(1)
        command = _command(folder, port, ports, names)
        child = stack.enter_context(started(command, cores=cores.subject, log=folder / "balancer.log"))
        await asyncio.to_thread(wait_listening, child, port)
        advance("a request to every replica for every model")
        await _visit_all(port, names, replicas)
        opened = await stack.enter_async_context(_streaming(port, names, streams))
        url = f"http://127.0.0.1:{port}/metrics"
        for number in range(windows):
            advance("streams")
            await _window(opened, found.quiet_s, window_s)
            advance("streams and scrapes")
            log = folder / f"scrapes-{number}.log"
            scrape = [sys.executable, "-m", "benchmarks.scrape.scraper", url, str(interval_s)]
            with started(scrape, cores=cores.others, log=log):
                await _window(opened, found.scraped_s, window_s)
            for line in log.read_text(encoding="utf-8").splitlines():
                took, size = line.split()
                found.scrapes_s.append(float(took))
                found.page_bytes = int(size)
        _expect_running(child, opened)
    return found


def _command(folder: Path, port: int, ports: Sequence[int], models: Sequence[str]) -> list[str]:
    config = {
        "replicas": [
            {
                "name": f"gpu-{number:02d}.cluster.internal:8000",
                "url": f"http://127.0.0.1:{each}",
                "models": list(models),
            }
            for number, each in enumerate(ports)
        ],
        "policy": "round_robin",
        "host": "127.0.0.1",
        "port": port,
    }
    path = folder / "balancer.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    return [sys.executable, "-m", "balancer", "serve", "--config", str(path)]


def _body(model: str, chunks: int) -> bytes:
    fields: dict[str, Any] = {"model": model, "stream": True, "max_tokens": chunks}
    return json.dumps(fields | {"messages": [{"role": "user", "content": "hi"}]}).encode()


async def _visit_all(port: int, models: Sequence[str], replicas: int) -> None:
    """In turn, so that each pair has its series."""
    client = Client(port)
    for model in models:
        for _ in range(replicas):
            await client.ask(post(PATH, f"127.0.0.1:{port}", _body(model, 2), Expected(0)))
    client.close()


@contextlib.asynccontextmanager
async def _streaming(port: int, models: Sequence[str], count: int) -> AsyncIterator[list[_Stream]]:
    """So many streams that don't end while the block runs."""
    loop = asyncio.get_running_loop()
    opened: list[_Stream] = []
    async with asyncio.TaskGroup() as group:
        tasks = []
        for number in range(count):
            _, stream = await loop.create_connection(_Stream, "127.0.0.1", port)
            body = _body(models[number % len(models)], _MANY)
            request = post(PATH, f"127.0.0.1:{port}", body, Expected(0))
            tasks.append(group.create_task(stream.ask(request, Answer(time.monotonic()))))
            opened.append(stream)
        try:
            yield opened
        finally:
            for task in tasks:
                task.cancel()


async def _window(streams: Sequence[_Stream], into: list[float], window_s: float) -> None:
    await asyncio.sleep(_WARM_S)
    for stream in streams:
        stream.gaps = into
    await asyncio.sleep(window_s)
    for stream in streams:
        stream.gaps = None


def _expect_running(child: Child, streams: Sequence[_Stream]) -> None:
    child.expect_running("under streams")
    ended = sum(stream.transport is None or stream.transport.is_closing() for stream in streams)
    if ended:
        raise RuntimeError(f"{ended} streams ended before they were asked to")
