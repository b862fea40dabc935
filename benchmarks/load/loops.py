"""Two ways to load. Closed: N connections, each asks as soon as it was answered; for cost, as the subject is kept busy.
Open: requests leave at a fixed rate whatever happens; for latency, taken from when each ought to have left, so
that a stall is charged to all that waited behind it (coordinated omission).
"""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass, field

from benchmarks.load.client import Answer, Client, Request
from benchmarks.load.ticker import ticking

_GRACE_S = 10.0


@dataclass(slots=True)
class Tally:
    """What a load run saw. Latencies are of right answers only; `errors` counts the wrong ones by kind."""

    asked: int = 0
    answers: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    body_bytes: int = 0
    reads: int = 0
    wall_s: float = 0.0
    first_byte_s: list[float] = field(default_factory=list)
    total_s: list[float] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        if answer.error is not None:
            self.errors[answer.error] += 1
            return
        assert answer.first_s is not None
        assert answer.ended_s is not None
        self.answers += 1
        self.body_bytes += answer.body_bytes
        self.reads += answer.reads
        self.first_byte_s.append(answer.first_s - answer.intended_s)
        self.total_s.append(answer.ended_s - answer.intended_s)


async def closed_loop(
    client: Client,
    requests: Iterator[Request],
    *,
    connections: int,
    duration_s: float,
    max_requests: int | None = None,
) -> Tally:
    """Ends when the time is over or the requests are sent, and every answer is in."""
    tally = Tally()
    started_s = time.monotonic()
    left = max_requests

    async def worker() -> None:
        nonlocal left
        while time.monotonic() < started_s + duration_s and left != 0:
            left = None if left is None else left - 1
            tally.asked += 1
            tally.add(await client.ask(next(requests)))

    await _to_the_end([worker() for _ in range(connections)], duration_s, tally)
    return tally


async def open_loop(
    client: Client, requests: Iterator[Request], *, rate_per_s: float, duration_s: float
) -> Tally:
    """`rate_per_s * duration_s` requests, each in a task of its own."""
    tally = Tally()
    wanted = max(1, round(rate_per_s * duration_s))

    async def one(due_s: float) -> None:
        tally.add(await client.ask(next(requests), Answer(due_s)))

    async def all_of_them() -> None:
        last = asyncio.Event()

        def send(due_s: float) -> None:
            if tally.asked < wanted:
                tally.asked += 1
                group.create_task(one(due_s))
            else:
                last.set()

        async with asyncio.TaskGroup() as group:
            with ticking(asyncio.get_running_loop(), rate_per_s, send):
                await last.wait()

    await _to_the_end([all_of_them()], duration_s, tally)
    return tally


async def _to_the_end(work: Iterable[Coroutine[None, None, None]], duration_s: float, tally: Tally) -> None:
    """Run it all, up to a bound that only a stuck subject meets; no collector pauses meanwhile."""
    gc.collect()
    gc.disable()
    started_s = time.monotonic()
    try:
        async with asyncio.timeout(duration_s + _GRACE_S), asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except TimeoutError:
        tally.errors["no answer in time"] = tally.asked - tally.answers - tally.errors.total()
    finally:
        gc.enable()
        tally.wall_s = time.monotonic() - started_s
