"""What the generators' reports come to, side by side. Pure.

All generators send the same load in each round, so a difference is taken within a round. Its noise is the half-width of
Student's 95 % interval of the mean over rounds: what is smaller is no difference.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.crosscheck.generator import LATENCIES, PERCENTILES, Report
from benchmarks.crosscheck.load import lateness_s
from benchmarks.report import Table, number
from benchmarks.stats import percentile

LEAST_ROUNDS = 3
MOST_ROUNDS = 10
_STUDENT = (4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""0.975 quantiles of Student's t for 2 to 9 degrees of freedom."""

_TITLES = {
    "ttft": "TTFT, ms",
    "tpot": "TPOT, ms: a mean over each answer",
    "itl": "ITL, ms: gaps between events",
    "e2el": "E2E, ms",
}
_DIGITS = {"ttft": 1, "tpot": 2, "itl": 2, "e2el": 1}


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean over rounds, in ms, and its noise."""

    mean_ms: float
    noise_ms: float

    @property
    def beyond_noise(self) -> bool:
        return abs(self.mean_ms) > self.noise_ms


def difference(theirs_ms: Sequence[float], ours_ms: Sequence[float]) -> Difference:
    """By round."""
    if not LEAST_ROUNDS <= len(ours_ms) <= MOST_ROUNDS:
        raise ValueError(f"rounds: expected {LEAST_ROUNDS} to {MOST_ROUNDS}, got {len(ours_ms)}")
    gaps = [their - our for their, our in zip(theirs_ms, ours_ms, strict=True)]
    noise = _STUDENT[len(gaps) - LEAST_ROUNDS] * statistics.stdev(gaps) / len(gaps) ** 0.5
    return Difference(statistics.fmean(gaps), noise)


def row(report: Report, due_s: Sequence[float]) -> dict[str, Any]:
    """What a result file keeps of one run. How late it was can't be told where the report leaves requests out."""
    told = len(report.sent_s) == len(due_s)
    late_ms = [1000 * late for late in lateness_s(due_s, report.sent_s)] if told else []
    return {
        "completed": report.completed,
        "late_p99_ms": percentile(late_ms, 99),
        "percentiles_ms": {
            name: {str(percent): ms for percent, ms in by_percent.items()}
            for name, by_percent in report.percentiles_ms.items()
        },
    }


def tables(rounds: Mapping[str, Sequence[Mapping[str, Any]]], ours: str) -> list[Table]:
    """A table for each latency, and one of how much of the load was sent, and when. `rounds` has the rows of each generator."""
    return [*(_latency_table(rounds, ours, latency) for latency in LATENCIES), _punctuality(rounds)]


def _latency_table(rounds: Mapping[str, Sequence[Mapping[str, Any]]], ours: str, latency: str) -> Table:
    digits = _DIGITS[latency]
    columns = ["generator"]
    for percent in PERCENTILES:
        columns += [f"P{percent}", "less ours"]
    rows = []
    for name, runs in rounds.items():
        cells: list[str | None] = [name]
        for percent in map(str, PERCENTILES):
            theirs = _values(runs, latency, percent)
            cells.append(number(statistics.fmean(theirs), digits) if theirs else None)
            mine = _values(rounds[ours], latency, percent)
            cells.append(_told(difference(theirs, mine), digits) if theirs and name != ours else None)
        rows.append(cells)
    return Table(_TITLES[latency], columns, rows)


def _values(runs: Sequence[Mapping[str, Any]], latency: str, percent: str) -> list[float]:
    return [run["percentiles_ms"][latency][percent] for run in runs if latency in run["percentiles_ms"]]


def _told(found: Difference, digits: int) -> str:
    verdict = "differs" if found.beyond_noise else "same"
    return f"{found.mean_ms:+.{digits}f} ± {found.noise_ms:.{digits}f} {verdict}"


def _punctuality(rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    rows = []
    for name, runs in rounds.items():
        late_ms = [run["late_p99_ms"] for run in runs if run["late_p99_ms"] is not None]
        rows.append((name, number(max(late_ms, default=None), 1), str(min(run["completed"] for run in runs))))
    return Table("The worst round", ("generator", "late P99, ms", "requests reported"), rows)
