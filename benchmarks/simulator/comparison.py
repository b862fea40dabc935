"""Tables out of the rows of a result. Pure.

Figures of several seeds are averaged. A ratio to the best is to the best *other* policy in the cell, oracles and
ablations aside, so it is below 1 where the policy wins. Cells are pooled by geometric means, in three bands of load.
"""

from collections.abc import Callable, Iterable, Sequence
from math import exp, log
from typing import Any

from benchmarks.report import Table, number
from benchmarks.simulator.arms import ARMS, ORACLE
from benchmarks.simulator.oracle import BOUND_LOAD
from benchmarks.simulator.suites import Row
from benchmarks.simulator.variants import PLAIN, VARIANTS

FLOOR_S = 0.25
"""What client and tokenizer add to every TTFT of llm-d's published ladder."""

BANDS: dict[str, Callable[[float], bool]] = {
    "to 0.7": lambda load: load <= 0.7,
    "to 0.9": lambda load: 0.7 < load <= 0.9,
    "from 1.0": lambda load: load >= 1.0,
}

Place = tuple[str, float, str, str]
"""Workload, load, variant, stage."""

Best = Callable[[Iterable[tuple[float, str]]], tuple[float, str]]
"""min or max."""


class Averages:
    """Each figure of a place and arm, averaged over the seeds."""

    def __init__(self, rows: Iterable[Row]) -> None:
        grouped: dict[Place, dict[str, list[Row]]] = {}
        for row in rows:
            place = (row["workload"], row["load"], row["variant"], row["stage"])
            grouped.setdefault(place, {}).setdefault(row["arm"], []).append(row)
        self._grouped = grouped
        self.arms = list(dict.fromkeys(arm for arms in grouped.values() for arm in arms))

    def places(self, *, variant: str | None = PLAIN.name, stage: str | None = "") -> list[Place]:
        """None: of any variant, of any stage."""
        return [
            place
            for place in self._grouped
            if (variant is None or place[2] == variant) and (stage is None or place[3] == stage)
        ]

    def arms_at(self, place: Place) -> list[str]:
        return list(self._grouped[place])

    def figure(self, place: Place, arm: str, name: str) -> float | None:
        values = [row[name] for row in self._grouped.get(place, {}).get(arm, ()) if row[name] is not None]
        return sum(values) / len(values) if values else None

    def seeds(self, place: Place, arm: str) -> int:
        return len(self._grouped.get(place, {}).get(arm, ()))

    def best_other(
        self, place: Place, arm: str, name: str, best: Best = min, *, ablations: bool = False
    ) -> tuple[float, str] | None:
        """Its figure and its name."""
        others = [
            other
            for other in self._grouped.get(place, ())
            if other != arm and (ARMS[other].is_policy or (ablations and ARMS[other].ablation))
        ]
        figures = [
            (value, other) for other in others if (value := self.figure(place, other, name)) is not None
        ]
        return best(figures) if figures else None

    def over_best(self, place: Place, arm: str, name: str, best: Best = min) -> float | None:
        found = self.best_other(place, arm, name, best)
        return ratio(self.figure(place, arm, name), found[0] if found else None)

    def over_oracle(self, place: Place, arm: str, name: str) -> float | None:
        """None at loads where the oracle is no bound."""
        if place[1] > BOUND_LOAD:
            return None
        return ratio(self.figure(place, arm, name), self.figure(place, ORACLE.name, name))


def ratio(value: float | None, reference: float | None) -> float | None:
    return None if value is None or not reference else value / reference


def geometric_mean(values: Iterable[float | None]) -> float | None:
    """None if any value is missing or zero: a mean over the rest would flatter."""
    found = list(values)
    if not found or any(value is None or value <= 0 for value in found):
        return None
    return exp(sum(log(value) for value in found if value is not None) / len(found))


def tables(result: dict[str, Any]) -> list[Table]:
    averages = Averages(result["rows"])
    if result["plan"]["suite"] == "ladder":
        return [_ladder(averages)]
    if result["plan"]["suite"] == "faults":
        return [_faults(averages, workload) for workload in _workloads(averages)]
    return [*(_cell(averages, place) for place in averages.places()), _summary(averages)]


def _workloads(averages: Averages) -> list[str]:
    return list(dict.fromkeys(place[0] for place in averages.places()))


def _cell(averages: Averages, place: Place) -> Table:
    columns = (
        f"{place[0]} {place[1]:g}",
        "TTFT P50 s",
        "P90",
        "P99",
        "E2E P90",
        "hit rate",
        "tok/s",
        "P90/best",
        "/oracle2",
        "left",
    )
    rows = []
    for arm in averages.arms_at(place):
        values = [averages.figure(place, arm, name) for name in ("ttft_p50_s", "ttft_p90_s", "ttft_p99_s")]
        rows.append(
            (
                arm,
                *(number(value, 2) for value in values),
                number(averages.figure(place, arm, "e2e_p90_s"), 1),
                number(averages.figure(place, arm, "hit_rate"), 2),
                number(averages.figure(place, arm, "output_tokens_per_s")),
                None if ARMS[arm].pooled else number(averages.over_best(place, arm, "ttft_p90_s"), 2),
                number(averages.over_oracle(place, arm, "ttft_p90_s"), 2),
                number(averages.figure(place, arm, "unfinished")),
            )
        )
    return Table("", columns, rows)


def _summary(averages: Averages) -> Table:
    """Over the workloads, by band of load."""
    columns = (
        "load",
        *BANDS,
        "E2E to 0.9",
        "tok/s from 1.0",
        "worst P90/oracle2 to 0.9",
    )
    rows = []
    for arm in averages.arms:
        if ARMS[arm].pooled:
            continue
        rows.append(
            (
                arm,
                *(number(pooled(averages, arm, "ttft_p90_s", inside), 2) for inside in BANDS.values()),
                number(pooled(averages, arm, "e2e_p90_s", lambda load: load <= 0.9), 2),
                number(pooled(averages, arm, "output_tokens_per_s", lambda load: load >= 1.0, best=max), 2),
                number(worst_over_oracle(averages, arm), 2),
            )
        )
    return Table("P90/best over the workloads: TTFT by load, E2E, and tok/s (geometric means)", columns, rows)


def pooled(
    averages: Averages,
    arm: str,
    name: str,
    inside: Callable[[float], bool],
    best: Best = min,
) -> float | None:
    places = [place for place in averages.places() if inside(place[1])]
    return geometric_mean(averages.over_best(place, arm, name, best) for place in places)


def worst_over_oracle(averages: Averages, arm: str) -> float | None:
    ratios = [averages.over_oracle(place, arm, "ttft_p90_s") for place in averages.places()]
    found = [value for value in ratios if value is not None]
    return max(found, default=None)


def _faults(averages: Averages, workload: str) -> Table:
    """P90 of TTFT under each circumstance, and in brackets over the same without it."""
    arms = averages.arms
    rows = []
    for place in averages.places(variant=None, stage=None):
        if place[0] != workload:
            continue
        plain = (place[0], place[1], PLAIN.name, "")
        cells = []
        for arm in arms:
            value = averages.figure(place, arm, "ttft_p90_s")
            times = ratio(value, averages.figure(plain, arm, "ttft_p90_s"))
            cells.append(None if value is None or times is None else f"{value:.2f} ({times:.2f})")
        rows.append((_circumstance(place), *cells))
    load = averages.places(variant=None)[0][1]
    return Table(f"{workload} at {load:g}: TTFT P90 s (times that without the fault)", ("", *arms), rows)


def _circumstance(place: Place) -> str:
    tells = VARIANTS[place[2]].tells
    return f"{tells}, {place[3]}" if place[3] else tells


def _ladder(averages: Averages) -> Table:
    arms = averages.arms
    rows: list[Sequence[str | None]] = []
    for place in averages.places(stage=None):
        if place[3]:
            values = (averages.figure(place, arm, "ttft_p90_s") for arm in arms)
            rows.append((place[3], *(number(None if v is None else v + FLOOR_S, 2) for v in values)))
    title = (
        f"llm-d's ladder: TTFT P90 s, with {FLOOR_S} s for client and tokenizer as in the published figures"
    )
    return Table(title, ("", *arms), rows)
