"""Thousands of streams open at once through one process: what is lost, what each holds, what a chunk costs.

The same number of chunks per second passes through few streams and through many, from a backend whose wheel makes them
arrive alike (`benchmarks.backend`); what differs is only how many connections stand open. CPU and memory are taken in
a window in which all streams have begun and none has ended.
"""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass

from benchmarks import cpu, wire
from benchmarks.load.client import Answer, Client, Request
from benchmarks.load.loops import closed_loop
from benchmarks.overhead.arms import Arm
from benchmarks.overhead.bench import BACKENDS, Bench
from benchmarks.overhead.bodies import BODIES, Body, requests
from benchmarks.overhead.rows import ManyStreams
from benchmarks.processes import NotServingError

FEW = 16
CHUNKS_PER_S = 8000.0
"""Through all streams together: 4 a second each of 2,000, 500 a second each of 16."""

_WINDOW_S = 8.0
_OPEN_PER_S = 500.0
_BEGIN_WITHIN_S = 30.0
_SPARE_S = 4.0
_LOST = "no end in time"


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen while all streams were open; without figures where not all were."""

    chunks: int = 0
    cpu_us_per_chunk: float | None = None
    cpu_source: str | None = None
    growth_bytes: int | None = None


async def many_streams(bench: Bench) -> None:
    for arm in bench.plan.stream_arms:
        for streams in (FEW, bench.plan.many_streams or FEW):
            bench.step(f"{arm.name}: {streams:,} streams at once")
            if arm.name not in bench.measured.troubles:
                await _one_run(bench, arm, streams)


async def _one_run(bench: Bench, arm: Arm, streams: int) -> None:
    slots = max(1, streams // BACKENDS)
    options = ("--slots", str(slots), "--visits-per-s", str(CHUNKS_PER_S / BACKENDS))
    try:
        with bench.backends(*options) as ports:
            async with bench.running(arm, ports) as running:
                assert running.child is not None
                row = await _streamed(arm, running.port, running.child.pid, streams)
                running.child.expect_running(f"under {streams:,} streams")
                bench.measured.streams.append(row)
    except NotServingError as error:
        bench.give_up(arm, str(error))


async def _streamed(arm: Arm, port: int, pid: int, streams: int) -> ManyStreams:
    opening_s = streams / _OPEN_PER_S
    chunks = round((opening_s * 2.5 + _WINDOW_S + _SPARE_S) * CHUNKS_PER_S / streams)
    client = Client(port)
    warm_up = requests(BODIES["small"], port)
    await closed_loop(client, warm_up, connections=16, duration_s=5, max_requests=500)
    resident = cpu.resident_bytes(pid)

    answers = [Answer(0.0) for _ in range(streams)]
    wanted = requests(Body("many", None, stream=True, chunks=chunks), port)
    window = Window()
    with contextlib.suppress(TimeoutError):
        bound_s = opening_s * 2 + _BEGIN_WITHIN_S + 2 * chunks * streams / CHUNKS_PER_S
        async with asyncio.timeout(bound_s), asyncio.TaskGroup() as group:
            started_s = time.monotonic()
            for index, answer in enumerate(answers):
                group.create_task(_one_stream(client, next(wanted), answer))
                await asyncio.sleep(max(0.0, started_s + index / _OPEN_PER_S - time.monotonic()))
            await _all_begun(answers)
            window = await _steady(pid, answers, resident)
    client.close()
    errors = Counter(answer.error or _LOST for answer in answers if answer.error or answer.ended_s is None)
    return ManyStreams(
        arm=arm.name,
        streams=streams,
        lost=errors.total(),
        errors=dict(errors),
        chunks=window.chunks,
        cpu_us_per_chunk=window.cpu_us_per_chunk,
        cpu_source=window.cpu_source,
        growth_bytes=window.growth_bytes,
    )


async def _one_stream(client: Client, request: Request, answer: Answer) -> None:
    answer.intended_s = time.monotonic()
    await client.ask(request, answer)


async def _all_begun(answers: list[Answer]) -> None:
    """Each stream has its first byte, or has failed; or the time for it is over."""
    deadline = time.monotonic() + _BEGIN_WITHIN_S
    while time.monotonic() < deadline:
        if all(answer.first_s is not None or answer.error is not None for answer in answers):
            return
        await asyncio.sleep(0.02)


async def _steady(pid: int, answers: list[Answer], resident: int) -> Window:
    before, bytes_before = cpu.read(pid), _received(answers)
    await asyncio.sleep(_WINDOW_S)
    spent = cpu.spent(before, cpu.read(pid))
    chunks = (_received(answers) - bytes_before) // len(wire.TOKEN_CHUNK)
    all_open = all(answer.first_s is not None and answer.ended_s is None for answer in answers)
    if not chunks or not all_open:
        return Window(chunks)
    return Window(
        chunks, spent.seconds * 1e6 / chunks, spent.source, max(0, cpu.resident_bytes(pid) - resident)
    )


def _received(answers: list[Answer]) -> int:
    return sum(answer.body_bytes for answer in answers)
