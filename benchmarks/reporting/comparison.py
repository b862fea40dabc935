"""A comparison's document by cells, a workload at a load: medians over the repeats that are valid. Pure."""

from collections.abc import Mapping
from typing import Any

from benchmarks.report import Table
from benchmarks.stats import median

Cell = tuple[str, float]

TTFT_P90 = "p90_ttft_ms"


class Cells:
    """The rows of a comparison by cell and arm, each in the order in which they first come."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._rows: dict[Cell, dict[str, list[Mapping[str, Any]]]] = {}
        for row in document["runs"]:
            arms = self._rows.setdefault((row["workload"], row["load"]), {})
            arms.setdefault(row["arm"], []).append(row)
        self.arms = list(dict.fromkeys(arm for arms in self._rows.values() for arm in arms))
        self.workloads = list(dict.fromkeys(workload for workload, _ in self._rows))

    def __iter__(self):
        return iter(sorted(self._rows, key=lambda cell: (self.workloads.index(cell[0]), cell[1])))

    def rows(self, cell: Cell, arm: str) -> list[Mapping[str, Any]]:
        """The valid ones."""
        found = self._rows.get(cell, {}).get(arm, ())
        return [row for row in found if row["trouble"] is None and row["valid"]]

    def figure(self, cell: Cell, arm: str, name: str) -> float | None:
        return median([row[name] for row in self.rows(cell, arm) if row[name] is not None])


def overviews(cells: Cells) -> list[Table]:
    """TTFT by load at a glance, of each workload."""
    return [_overview(cells, workload) for workload in cells.workloads]


def _overview(cells: Cells, workload: str) -> Table:
    """In brackets: times the lowest of the other arms, so below 1 where the arm has the lowest."""
    places = [cell for cell in cells if cell[0] == workload]
    rows = []
    for arm in cells.arms:
        told: list[str | None] = []
        for cell in places:
            value = cells.figure(cell, arm, TTFT_P90)
            others = [cells.figure(cell, other, TTFT_P90) for other in cells.arms if other != arm]
            lowest = min((other for other in others if other), default=None)
            times = f" ({value / lowest:.2f})" if value is not None and lowest else ""
            told.append(None if value is None else f"{value:,.0f}{times}")
        rows.append((arm, *told))
    title = f"{workload}: TTFT P90 in ms by load (times the lowest of the others)"
    return Table(title, ("arm", *(f"{load:g}" for _, load in places)), rows)
