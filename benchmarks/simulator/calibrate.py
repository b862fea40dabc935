"""How much of a workload is load 1.0: the highest rate at which oracle2 keeps the P90 of TTFT low, by bisection."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from balancer.embedded.engine import PROFILES
from benchmarks.simulator.arms import ORACLE
from benchmarks.simulator.figures import figures
from benchmarks.simulator.simulation import Setting, simulate
from benchmarks.simulator.suites import REPLICAS
from benchmarks.workloads import WORKLOADS, Workload

LIMIT_S = 2.0
LIMIT_TIMES = 1.5
"""The limit: LIMIT_S, or so many times the P90 at IDLE_LOAD where that is more."""
IDLE_LOAD = 0.15
SEEDS = (1, 2)
HALVINGS = 7


def capacities(names: Sequence[str], jobs: int) -> Iterator[tuple[str, float]]:
    with ProcessPoolExecutor(jobs) as pool:
        yield from zip(names, pool.map(capacity, names), strict=True)


def capacity(name: str) -> float:
    """Arrivals a second and replica."""
    workload = replace(WORKLOADS[name], capacity=1.0)
    low, high = 0.0, WORKLOADS[name].capacity
    limit_s = max(LIMIT_S, LIMIT_TIMES * _p90(workload, IDLE_LOAD * high))
    while _p90(workload, high) <= limit_s:
        low, high = high, high * 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _p90(workload, middle) <= limit_s:
            low = middle
        else:
            high = middle
    return low


def _p90(workload: Workload, rate: float) -> float:
    """The mean over the seeds."""
    total = 0.0
    for seed in SEEDS:
        traffic = workload.traffic(rate, REPLICAS, seed)
        run = simulate(ORACLE, traffic, Setting((PROFILES[workload.hardware],) * REPLICAS), seed)
        total += figures(run, traffic.start_s, traffic.end_s, REPLICAS).ttft_p90_s or 0.0
    return total / len(SEEDS)
