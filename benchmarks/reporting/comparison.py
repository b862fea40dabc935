"""A comparison's document as tables: arms beside one another in each cell, a workload at a load. Pure.

Figures are medians over the repeats that are valid. `predicted` is what the simulator says of the same cell.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.report import Table, number
from benchmarks.reporting.tables import percent
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

    def predicted(self, cell: Cell, arm: str, name: str) -> float | None:
        predictions = [row["prediction"].get(name) for row in self.rows(cell, arm) if row.get("prediction")]
        return median([value for value in predictions if value is not None])

    def losses(self, cell: Cell, arm: str) -> int | None:
        """Requests without an answer, over all repeats."""
        rows = self.rows(cell, arm)
        return sum(row["num_prompts"] - row["completed"] for row in rows) if rows else None


def tables(document: Mapping[str, Any]) -> list[Table]:
    cells = Cells(document)
    return [
        *(_overview(cells, workload) for workload in cells.workloads),
        *(_cell(cells, cell) for cell in cells),
    ]


def left_out(document: Mapping[str, Any]) -> list[str]:
    """Each run that counts in no table, and why."""
    found = []
    for row in document["runs"]:
        why = row["trouble"] or (None if row["valid"] else f"invalid: {row['invalid']}")
        if why is not None:
            found.append(
                f"{row['arm']}, {row['workload']} at {row['load']:g}, repeat {row['repeat']}, left out: {why}"
            )
    return found


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


def _cell(cells: Cells, cell: Cell) -> Table:
    rows = []
    for arm in cells.arms:
        value, predicted = cells.figure(cell, arm, TTFT_P90), cells.predicted(cell, arm, TTFT_P90)
        rows.append(
            (
                arm,
                *(number(cells.figure(cell, arm, f"p{q}_ttft_ms")) for q in (50, 90, 99)),
                number(predicted),
                None if value is None or not predicted else f"{value / predicted - 1:+.0%}",
                number(cells.figure(cell, arm, "p90_e2el_ms")),
                number(cells.figure(cell, arm, "window_output_throughput")),
                percent(cells.figure(cell, arm, "hit_rate")),
                percent(cells.figure(cell, arm, "goodput_share")),
                number(cells.losses(cell, arm)),
                number(len(cells.rows(cell, arm))),
            )
        )
    columns = (
        "TTFT P50 ms",
        "P90",
        "P99",
        "predicted P90",
        "error",
        "E2E P90",
        "tok/s",
        "hits",
        "good",
        "lost",
        "runs",
    )
    return Table("", (f"{cell[0]} {cell[1]:g}", *columns), rows)
