"""The page of a large fleet, written in this process: how long, how much of it in one go, how many bytes and series."""

import asyncio
import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from balancer.accounting.metrics import Metrics
from balancer.accounting.record import Record
from balancer.core.admission import Line
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling import RoundRobin
from balancer.core.types import EngineSample, Fault, Health, ReplicaId, Usage

ACCEPT = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What Prometheus 2.42 sends."""

_LOOPS = ("health", "models", "metrics")
_REASONS = ("cached", "cached_elsewhere_but_busy", "uncached", "cached_everywhere")
_OUTCOMES = ("answered", "cancelled", "broken")


@dataclass(frozen=True, slots=True)
class Written:
    """Seconds of each writing: by the clock, of CPU, and of CPU in the longest piece, for which others had to wait."""

    bytes: int
    series: int
    took_s: list[float]
    cpu_s: list[float]
    longest_s: list[float]


@dataclass(slots=True)
class _Loop:
    kind: str
    subject: str
    last_success_s: float = 0.0
    restarts: int = 0


def written(replicas: int, models: int, times: int) -> Written:
    """Every replica serves every model, has had every fault, and answered for each model."""
    metrics = counted(replicas, models)
    return asyncio.run(_written(metrics, times))


def counted(replicas: int, models: int) -> Metrics:
    rng = random.Random(7)
    names = [f"org/model-{number}" for number in range(models)]
    states = [
        ReplicaState(
            ReplicaId(f"gpu-{number:02d}.cluster.internal:8000"),
            f"http://gpu-{number:02d}:8000",
            models=frozenset(names),
            health=Health.HEALTHY,
            turned_s=1.0,
        )
        for number in range(replicas)
    ]
    loops = [_Loop(kind, state.id) for state in states for kind in _LOOPS]
    fleet = Fleet(states)
    metrics = Metrics(fleet, "predicted_latency", Line(fleet, RoundRobin()), loops)
    for state in states:
        state.sample = EngineSample(1.0, 3.0, 1.0, 0.5, 10.0, 5.0)
        state.faults.update(Fault)
        for record in _records(state.id, names, rng):
            metrics.gaps(record)(rng.expovariate(20), 50)
            metrics.add(record)
        for reason in _REASONS:
            for outcome in _OUTCOMES:
                metrics.attempted(state.id, reason, outcome)
    return metrics


def _records(replica: str, models: list[str], rng: random.Random) -> Iterator[Record]:
    for model in models:
        ttft_s, stream_s = rng.expovariate(2), rng.expovariate(0.1)
        yield Record(
            "/v1/chat/completions",
            10.0,
            9.99,
            10.001,
            model=model,
            replica=replica,
            status=200,
            matched_tokens=64,
            waited_s=rng.expovariate(10),
            sent_at=10.01,
            asked_at=10.01,
            heard_at=10.012,
            predicted_ttft_s=0.2,
            token_at=10.0 + ttft_s,
            ended_at=10.0 + ttft_s + stream_s,
            usage=Usage(100, 50, 48),
        )


async def _written(metrics: Metrics, times: int) -> Written:
    page = b""
    took: list[float] = []
    spent: list[float] = []
    longest: list[float] = []
    for _ in range(times):
        turns: list[float] = []
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_watch(turns))
            await asyncio.sleep(0)
            begun, cpu_before = time.perf_counter(), time.thread_time()
            page, _ = await metrics.page(ACCEPT)
            ended, cpu_after = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0)
            watching.cancel()
        took.append(ended - begun)
        spent.append(cpu_after - cpu_before)
        longest.append(max(after - before for before, after in itertools.pairwise(turns)))
    series = sum(1 for line in page.splitlines() if not line.startswith(b"#"))
    return Written(len(page), series, took, spent, longest)


async def _watch(turns: list[float]) -> None:
    """Somebody else on the event loop, who always wants to go on."""
    while True:
        turns.append(time.thread_time())
        await asyncio.sleep(0)
