"""What the default policy has to reach, and whether a run shows that it does. Pure.

A line pools one figure over its cells. It is met or missed only where all cells of its suite were run, by all its policies and
from as many seeds as the suite has; anything less is "not measured", whatever the value. The figures:

    best other   the least (of tokens/s: the greatest) of the other policies in the cell, each the mean over the seeds.
                 Oracles and ablations are no policies; lines that count the ablations too stand beside.
    oracle2      of a workload, the geometric mean over its loads up to BOUND_LOAD
    ladder       the P90 of a stage plus FLOOR_S, in ours and in the other's: the published figures have it in both
    fault        the P90 over that of the run without it, among requests that arrive FROM_S after the start or later
    join         the P90 of those that arrive within AFTER_S of the join, over that of the same requests in a run
                 in which all replicas were there from the start
    collapse     output tokens/s over those of the run without the fault, both by the rate that was offered
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.goals import Status
from benchmarks.simulator.arms import ARMS, ORACLE
from benchmarks.simulator.comparison import BANDS, FLOOR_S, Averages, Best, Place, geometric_mean, ratio
from benchmarks.simulator.oracle import BOUND_LOAD
from benchmarks.simulator.suites import SUITES, Row
from benchmarks.simulator.variants import AFTER_S, PLAIN, VARIANTS
from benchmarks.workloads.groups import LADDER

SUBJECT = "predicted_latency"
RIVALS = tuple(arm for arm in SUITES["policies"].arms if ARMS[arm].is_policy and arm != SUBJECT)
FROM_S = 60.0
FAULTS = ("stale", "told_3x_speed", "told_third_speed", "index_double", "half_slow")
KEPT = 0.9
"""Of the output tokens/s without the fault. Less is a collapse."""
FAST_QPS = 46

TTFT, E2E, TOKENS = "ttft_p90_s", "e2e_p90_s", "output_tokens_per_s"
_BAND_GOALS = {"to 0.7": 1.02, "to 0.9": 1.0, "from 1.0": 0.9}


@dataclass(frozen=True, slots=True)
class Cell:
    """`rival`: who it was measured against, where that differs by cell."""

    name: str
    value: float | None
    rival: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """`gaps` is what was not run. A cell loses beyond `even`, and beyond `limit` where that is None."""

    title: str
    limit: float
    value: float | None
    cells: tuple[Cell, ...]
    gaps: tuple[str, ...] = ()
    even: float | None = None
    at_least: bool = False
    unit: str = "x"

    @property
    def status(self) -> Status:
        if self.value is None or self.gaps:
            return Status.NOT_MEASURED
        return Status.MET if self._reaches(self.value, self.limit) else Status.MISSED

    @property
    def losing(self) -> list[Cell]:
        even = self.limit if self.even is None else self.even
        return [cell for cell in self.cells if cell.value is not None and not self._reaches(cell.value, even)]

    def _reaches(self, value: float, limit: float) -> bool:
        return value >= limit if self.at_least else value <= limit


def by_suite(results: Iterable[dict[str, Any]]) -> dict[str, Averages]:
    """Where a cell is in two results, the later counts."""
    rows: dict[str, dict[tuple[Any, ...], Row]] = {}
    for result in results:
        known = rows.setdefault(result["plan"]["suite"], {})
        for row in result["rows"]:
            known[tuple(row[key] for key in ("workload", "load", "variant", "stage", "arm", "seed"))] = row
    return {suite: Averages(known.values()) for suite, known in rows.items()}


def judge(measured: dict[str, Averages], *, whole: bool = False) -> list[Line]:
    """The lines that these suites can tell; `whole`: all that there are."""
    return [
        line
        for suite, lines in _LINES.items()
        if whole or suite in measured
        for line in lines(measured.get(suite) or Averages(()))
    ]


# -- policies


def _policies(averages: Averages) -> list[Line]:
    return [
        *(
            _over_best(averages, f"TTFT P90 / best other, load {name}", _BAND_GOALS[name], TTFT, inside)
            for name, inside in BANDS.items()
        ),
        *(
            _over_best(
                averages, f"the same with ablations, load {name}", _BAND_GOALS[name], TTFT, inside, ablations=True
            )
            for name, inside in BANDS.items()
        ),
        *_over_oracle(averages),
        _over_best(averages, "E2E P90 / best other, load to 0.9", 1.0, E2E, lambda load: load <= 0.9),
        _over_best(
            averages, "output tokens/s / best other, load from 1.0", 1.0, TOKENS, BANDS["from 1.0"], max
        ),
    ]  # fmt: skip


def _places(suite: str) -> list[Place]:
    return [(workload.name, load, variant, "") for workload, load, variant in SUITES[suite].cells]


def _over_best(
    averages: Averages,
    title: str,
    limit: float,
    figure: str,
    inside: Callable[[float], bool],
    best: Best = min,
    *,
    ablations: bool = False,
) -> Line:
    cells = []
    places = [place for place in _places("policies") if inside(place[1])]
    for place in places:
        other = averages.best_other(place, SUBJECT, figure, best, ablations=ablations)
        value = ratio(averages.figure(place, SUBJECT, figure), other[0] if other else None)
        cells.append(Cell(_named(place), value, other[1] if other else ""))
    needed = [*RIVALS, *(arm.name for arm in ARMS.values() if arm.ablation and ablations)]
    return _line(
        title,
        limit,
        cells,
        geometric_mean,
        _unrun(averages, "policies", places, needed),
        even=1.0,
        at_least=best is max,
    )


def _over_oracle(averages: Averages) -> list[Line]:
    """The worst workload may be so far off the bound, the others less."""
    places = [place for place in _places("policies") if place[1] <= BOUND_LOAD]
    cells = [Cell(_named(place), averages.over_oracle(place, SUBJECT, TTFT), ORACLE.name) for place in places]
    gaps = (*_missing(cells), *_unrun(averages, "policies", places, [ORACLE.name]))
    means: list[tuple[float, str, tuple[Cell, ...]]] = []
    for workload in dict.fromkeys(place[0] for place in places):
        own = tuple(cell for place, cell in zip(places, cells, strict=True) if place[0] == workload)
        mean = geometric_mean(cell.value for cell in own if cell.value is not None)
        if mean is not None:
            means.append((mean, workload, own))
    means.sort(reverse=True)
    lines = []
    for title, limit, found in (("worst workload", 1.5, means[:1]), ("all others", 1.25, means[1:])):
        told = f", {found[0][1]}" if found else ""
        lines.append(
            Line(
                f"TTFT P90 / oracle2, load to {BOUND_LOAD:g}, {title}{told}",
                limit,
                found[0][0] if found else None,
                tuple(cell for _, _, own in found for cell in own),
                gaps,
            )
        )
    return lines


# -- ladder


def _ladder(averages: Averages) -> list[Line]:
    stages: list[Place] = [("ladder", 1.0, PLAIN.name, f"{qps} qps") for qps, _ in LADDER]
    fast = [place for place, (qps, _) in zip(stages, LADDER, strict=True) if qps >= FAST_QPS]

    def total_s(place: Place, arm: str) -> float | None:
        value = averages.figure(place, arm, TTFT)
        return None if value is None else value + FLOOR_S

    return [
        _line(
            f"ladder, worst stage: TTFT P90 + {FLOOR_S} s",
            0.35,
            [Cell(place[3], total_s(place, SUBJECT)) for place in stages],
            max,
            unit="s",
        ),
        *(
            _line(
                f"ladder from {FAST_QPS} qps, worst stage: {arm} / {SUBJECT}",
                limit,
                [
                    Cell(f"ladder {place[3]}", ratio(total_s(place, arm), total_s(place, SUBJECT)), arm)
                    for place in fast
                ],
                min,
                at_least=True,
            )
            for arm, limit in (("llm_d_111", 57.0), ("random", 150.0))
        ),
    ]


# -- faults


def _faults(averages: Averages) -> list[Line]:
    plain = [place for place in _places("faults") if place[2] == PLAIN.name]

    def over(variant: str, figure: str, stage: str, other: str) -> list[Cell]:
        cells = []
        for workload, load, _, _ in plain:
            value = averages.figure((workload, load, variant, stage), SUBJECT, figure)
            without = averages.figure((workload, load, other, stage), SUBJECT, figure)
            cells.append(Cell(f"{workload} {load:g} {variant}", ratio(value, without)))
        return cells

    def gaps(*variants: str) -> list[str]:
        places = [place for place in _places("faults") if place[2] in variants]
        return _unrun(averages, "faults", places, [SUBJECT])

    kept = [
        Cell(cell.name, cell.value / VARIANTS[variant].share if cell.value is not None else None)
        for variant in FAULTS
        for cell in over(variant, TOKENS, "", PLAIN.name)
    ]
    return [
        *(
            _line(
                f"TTFT P90 / without: {VARIANTS[variant].tells}",
                1.3,
                over(variant, TTFT, "", PLAIN.name),
                max,
                gaps(variant, PLAIN.name),
            )
            for variant in FAULTS
        ),
        _line(
            "output tokens/s / without: the least of these",
            KEPT,
            kept,
            min,
            gaps(*FAULTS, PLAIN.name),
            at_least=True,
        ),
        _line(
            f"join 6 to 8, first {AFTER_S:g} s: TTFT P90 / 8 from the start",
            1.3,
            over("join", TTFT, "after", "joined"),
            max,
            gaps("join", "joined"),
        ),
    ]


_LINES: dict[str, Callable[[Averages], list[Line]]] = {
    "policies": _policies,
    "ladder": _ladder,
    "faults": _faults,
}


def _line(
    title: str,
    limit: float,
    cells: Sequence[Cell],
    pool: Callable[[list[float]], float | None],
    unrun: Sequence[str] = (),
    *,
    even: float | None = None,
    at_least: bool = False,
    unit: str = "x",
) -> Line:
    values = [cell.value for cell in cells if cell.value is not None]
    gaps = (*_missing(cells), *unrun)
    return Line(title, limit, pool(values) if values else None, tuple(cells), gaps, even, at_least, unit)


def _missing(cells: Sequence[Cell]) -> list[str]:
    found = sum(cell.value is not None for cell in cells)
    return [] if found == len(cells) else [f"{found} of {len(cells)} cells"]


def _unrun(averages: Averages, suite: str, places: Sequence[Place], arms: Sequence[str]) -> list[str]:
    """Which of these arms, and how many seeds, are wanting where the subject was run."""
    run = [place for place in places if averages.seeds(place, SUBJECT)]
    asked = len(SUITES[suite].seeds)
    absent = [arm for arm in arms if any(not averages.seeds(place, arm) for place in run)]
    seeds = min(
        (averages.seeds(place, arm) for place in run for arm in (SUBJECT, *arms) if arm not in absent),
        default=asked,
    )
    return [*(f"without {arm}" for arm in absent), *([f"{seeds} of {asked} seeds"] if seeds < asked else [])]


def _named(place: Place) -> str:
    return f"{place[0]} {place[1]:g}"
