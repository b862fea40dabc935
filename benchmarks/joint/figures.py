"""The joint choice against an arm that chooses the tier first, where both give the same quality. Pure.

The other arm is run at several shares. Its cost and TTFT at our quality are read off the line between the two of these whose
qualities lie on either side (of TTFT, between the logarithms); where ours is beyond them all, the cell is not measured.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from typing import Any

from benchmarks.goals import Status
from benchmarks.joint.cells import ABLATIONS, BOUNDS, RIVALS, SUBJECT
from benchmarks.report import Table, number, status_cell

TTFT_GOAL = 0.75
COST_GOAL = 0.85
NOISE = 1.05
"""A ratio of less is not told from 1 by these seeds."""

Row = dict[str, Any]
FIGURES = (
    "quality",
    "retained",
    "strong_share",
    "usd_per_1000",
    "ttft_p50_s",
    "ttft_p90_s",
    "e2e_p50_s",
    "e2e_p90_s",
)


@dataclass(frozen=True, slots=True)
class Match:
    """Ours over theirs at equal quality; None: they do not come to our quality at any of their shares."""

    workload: str
    rival: str
    load: float
    quality: float
    share: float | None
    ttft: float | None
    usd: float | None
    ttft_p50: float | None = None
    e2e_p50: float | None = None

    @property
    def status(self) -> Status:
        if self.ttft is None or self.usd is None:
            return Status.NOT_MEASURED
        better = self.ttft <= TTFT_GOAL or self.usd <= COST_GOAL
        return Status.MET if better and not self.worse else Status.MISSED

    @property
    def worse(self) -> bool:
        return self.ttft is None or self.usd is None or max(self.ttft, self.usd) > NOISE


def means(rows: Iterable[Row]) -> dict[tuple[str, str, float, str, float], Row]:
    """Over the seeds, by workload, rival, load, arm and share."""
    by_cell: dict[tuple[str, str, float, str, float], list[Row]] = {}
    for row in rows:
        key = row["workload"], row["rival"], row["load"], row["arm"], row["share"]
        by_cell.setdefault(key, []).append(row)
    return {
        key: {figure: sum(row[figure] for row in found) / len(found) for figure in FIGURES}
        for key, found in by_cell.items()
    }


def matches(rows: Iterable[Row]) -> list[Match]:
    averages = means(rows)
    found = []
    for (workload, rival, load, arm, _), ours in averages.items():
        if arm == SUBJECT:
            curve = [
                row for (w, r, at, a, _), row in averages.items() if (w, r, at, a) == (workload, rival, load, rival)
            ]  # fmt: skip
            found.append(_match(workload, rival, load, ours, curve))
    return found


def _match(workload: str, rival: str, load: float, ours: Row, curve: Sequence[Row]) -> Match:
    quality = ours["quality"]
    in_order = sorted(curve, key=lambda row: row["quality"])
    for lower, upper in pairwise(in_order):
        if lower["quality"] <= quality <= upper["quality"] and upper["quality"] > lower["quality"]:
            part = (quality - lower["quality"]) / (upper["quality"] - lower["quality"])
            usd = lower["usd_per_1000"] + part * (upper["usd_per_1000"] - lower["usd_per_1000"])
            share = lower["strong_share"] + part * (upper["strong_share"] - lower["strong_share"])
            times = (
                ours[figure] / exp((1 - part) * log(lower[figure]) + part * log(upper[figure]))
                for figure in ("ttft_p90_s", "ttft_p50_s", "e2e_p50_s")
            )
            ttft, ttft_p50, e2e_p50 = times
            return Match(
                workload, rival, load, quality, share, ttft, ours["usd_per_1000"] / usd, ttft_p50, e2e_p50
            )
    return Match(workload, rival, load, quality, None, None, None)


def tables(rows: Sequence[Row], *, colour: bool = False) -> list[Table]:
    found = matches(rows)
    verdicts = [
        (
            f"{match.workload}, {match.load:g} of {match.rival}",
            number(match.quality, 3),
            number(match.share, 2),
            _change(match.ttft),
            _change(match.usd),
            _change(match.ttft_p50),
            _change(match.e2e_p50),
            status_cell(
                match.status, "worse" if match.worse and match.ttft is not None else "", colour=colour
            ),
        )
        for match in found
    ]
    return [
        *(_figures_table(rows, rival) for rival in RIVALS),
        Table(
            f"Joint, at equal quality: TTFT P90 <= {TTFT_GOAL:g} or cost <= {COST_GOAL:g}, and neither worse",
            (
                "workload and load",
                "quality",
                "their share",
                "TTFT P90",
                "USD",
                "TTFT P50",
                "E2E P50",
                "verdict",
            ),
            verdicts,
        ),
    ]


def _figures_table(rows: Sequence[Row], rival: str) -> Table:
    shown = []
    averages = means(row for row in rows if row["rival"] == rival)
    for (workload, _, load, arm, share), row in averages.items():
        name = arm if arm in {SUBJECT, *ABLATIONS, *BOUNDS} else f"{arm}, asked {share:.0%}"
        shown.append(
            (
                f"{workload} {load:g} {name}",
                number(row["quality"], 3),
                number(100 * row["strong_share"], 1),
                number(row["usd_per_1000"], 3),
                number(row["ttft_p50_s"], 3),
                number(row["ttft_p90_s"], 3),
                number(row["e2e_p50_s"], 1),
                number(row["e2e_p90_s"], 1),
            )
        )
    columns = ("cell", "quality", "strong %", "USD/1000", "TTFT P50 s", "P90", "E2E P50 s", "P90")
    return Table(f"Loads of what `{rival}` bears", columns, shown)


def _change(value: float | None) -> str | None:
    return None if value is None else f"{100 * (value - 1):+.0f} %"
