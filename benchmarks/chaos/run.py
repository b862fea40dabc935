"""One run through one arm: the load at a steady rate, the schedule beside it, a row for every request.

Requests leave when they are due, whatever became of the ones before, and TTFT counts from then.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.chaos.client import Client
from benchmarks.chaos.faults import Fault, Unsupported
from benchmarks.chaos.lab import Lab
from benchmarks.chaos.traffic import Ask
from benchmarks.chaos.verdict import Verdict, judge
from benchmarks.processes import NotServingError


@dataclass(frozen=True, slots=True)
class Plan:
    """`longest_window_s` cuts every window short; `warm_up_s` of load goes before the first fault; counters must be back at
    zero `drained_within_s` after the last answer.
    """

    faults: Sequence[Fault]
    rate_per_s: float
    quiet_s: float
    patience_s: float
    longest_window_s: float | None = None
    warm_up_s: float = 3.0
    drained_within_s: float = 10.0
    seed: int = 1

    def window_s(self, fault: Fault) -> float:
        return fault.window_s if self.longest_window_s is None else min(fault.window_s, self.longest_window_s)


@dataclass(frozen=True, slots=True)
class Row:
    """One request, of whose answer only the verdict is kept. Times are of `time.monotonic`."""

    kind: str
    resumable: bool
    due_s: float
    ended_s: float
    ttft_s: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Window:
    fault: str
    survivor: bool
    began_s: float
    ended_s: float
    note: str = ""


@dataclass(slots=True)
class Observed:
    rows: list[Row] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    leaks: dict[str, float] = field(default_factory=dict)
    trouble: str | None = None


class Load:
    """Asks at a fixed rate until it is stopped; returns when every request has its verdict."""

    def __init__(
        self, client: Client, asks: Iterator[Ask], rate_per_s: float, on_end: Callable[[Row], None]
    ) -> None:
        self._client = client
        self._asks = asks
        self._on_end = on_end
        self._interval_s = 1 / rate_per_s
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            due_s = time.monotonic()
            while not self._stop.is_set():
                ask = next(self._asks)
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                group.create_task(self._one(ask, due_s))
                due_s += self._interval_s

    async def _one(self, ask: Ask, due_s: float) -> None:
        reply = await self._client.ask(ask)
        verdict = judge(ask.truth, reply.seen(), stream=ask.stream)
        first_s = None if ask.slow else reply.first_data_s  # a slow reader's delay is its own
        ttft_s = None if first_s is None else first_s - due_s
        self._on_end(Row(ask.kind, ask.resumable, due_s, time.monotonic(), ttft_s, verdict))


async def observe(lab: Lab, asks: Iterator[Ask], plan: Plan, tell: Callable[[str], None]) -> Observed:
    """The whole schedule under load, then what is left behind when the load is over."""
    observed = Observed()
    client = Client(lab.front.port, plan.patience_s)
    load = Load(client, asks, plan.rate_per_s, observed.rows.append)
    try:
        async with asyncio.TaskGroup() as group:
            loading = group.create_task(load.run())
            try:
                await asyncio.sleep(plan.warm_up_s)
                for index, fault in enumerate(plan.faults):
                    lab.rng.seed(f"{plan.seed}/{index}")
                    observed.windows.append(await _inflict(lab, fault, plan.window_s(fault), tell))
                    await asyncio.sleep(plan.quiet_s)
                    assert lab.front.child is not None
                    lab.front.child.expect_running(f"after {fault.name}")
                load.stop()
            except NotServingError as error:
                observed.trouble = str(error)
                loading.cancel()
        if observed.trouble is None:
            observed.leaks = await lab.leaks(plan.drained_within_s)
    except NotServingError as error:
        observed.trouble = str(error)
    finally:
        client.close()
    return observed


async def _inflict(lab: Lab, fault: Fault, window_s: float, tell: Callable[[str], None]) -> Window:
    tell(fault.name)
    began_s = time.monotonic()
    note = ""
    try:
        await fault.inflict(lab, window_s)
    except Unsupported as unsupported:
        note = str(unsupported)
    return Window(fault.name, fault.survivor, began_s, time.monotonic(), note)
