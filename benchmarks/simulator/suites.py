"""Which cells are run, and the running of them over all cores. A cell is a workload at a load, under circumstances, by an
arm, from a seed.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from balancer.embedded.engine import PROFILES
from benchmarks.simulator.arms import ARMS, ORACLE
from benchmarks.simulator.figures import figures
from benchmarks.simulator.simulation import simulate
from benchmarks.simulator.variants import PLAIN, VARIANTS
from benchmarks.workloads import LADDER, MAIN, OTHERS, WORKLOADS, Workload

REPLICAS = 8

Row = dict[str, Any]
"""A cell and its figures, as it stands in the result file; one more for each stage of its traffic."""


@dataclass(frozen=True, slots=True)
class Cell:
    workload: str
    load: float
    arm: str
    seed: int
    variant: str = PLAIN.name


@dataclass(frozen=True, slots=True)
class Suite:
    """`arms` are those run where none are named; oracle2 always runs, but where it cannot."""

    name: str
    tells: str
    cells: tuple[tuple[Workload, float, str], ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]

    def expand(self, arms: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
        return [
            Cell(workload.name, load, arm, seed, variant)
            for (workload, load, variant), seed, arm in product(self.cells, seeds, arms)
            if not (ARMS[arm].pooled and VARIANTS[variant].faults)
        ]


_QUICK = (
    "round_robin",
    "least_requests",
    "session",
    "cache_aware",
    "sglang_cache_aware",
    "llm_d_322",
    "lmetric",
    "preble_e2",
    "predicted_latency",
    ORACLE.name,
)
_MORE = (
    "random",
    "power_of_two",
    "prefix_hash",
    "llm_d_111",
    "llm_d_sticky",
    "dynamo_cost",
    "lmetric_np",
    "production_stack_loadaware",
)
_FAULTY = ("fresh_questions", "hot_templates", "agents")
_FAULT_LOAD = 0.85

SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "quick",
            "the five main workloads near their capacity, one seed",
            tuple((workload, max(x for x in workload.loads if x <= 0.9), "") for workload in MAIN),
            _QUICK,
            (1,),
        ),
        Suite(
            "policies",
            "the five main workloads at all their loads",
            tuple((workload, load, "") for workload in MAIN for load in workload.loads),
            (*_QUICK, *_MORE),
            (1, 2),
        ),
        Suite(
            "others",
            "workloads that no constant was chosen on",
            tuple((workload, load, "") for workload in OTHERS for load in workload.loads),
            _QUICK,
            (1, 2),
        ),
        Suite(
            "faults",
            "three workloads under each circumstance in turn",
            tuple(
                (WORKLOADS[name], _FAULT_LOAD, variant) for name in _FAULTY for variant in VARIANTS
            ),
            ("least_requests", "cache_aware", "predicted_latency"),
            (1, 2),
        ),
        Suite(
            "ladder",
            "llm-d's published ladder of rates, with its 750 fixed prompts",
            ((LADDER, 1.0, ""),),
            ("random", "least_requests", "llm_d_111", "llm_d_322", "cache_aware", "predicted_latency", ORACLE.name),
            (1,),
        ),
    )
}  # fmt: skip


def run_cell(cell: Cell) -> list[Row]:
    workload, variant = WORKLOADS[cell.workload], VARIANTS[cell.variant]
    traffic = variant.traffic(workload.traffic(cell.load * variant.share, REPLICAS, cell.seed))
    setting = variant.setting(PROFILES[workload.hardware], REPLICAS, traffic)
    run = simulate(ARMS[cell.arm], traffic, setting, cell.seed)
    return [
        {**asdict(cell), "stage": stage, **asdict(figures(run, *window, REPLICAS))}
        for stage, window in run.windows.items()
    ]


def run_cells(cells: Iterable[Cell], jobs: int, done: Callable[[Cell], None]) -> list[Row]:
    """In the order of the cells, whoever is done first."""
    ordered = list(cells)
    found: dict[Cell, list[Row]] = {}
    with ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(run_cell, cell): cell for cell in ordered}
        for future in as_completed(running):
            found[running[future]] = future.result()
            done(running[future])
    return [row for cell in ordered for row in found[cell]]
