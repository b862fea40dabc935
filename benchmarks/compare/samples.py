"""What of a run's requests is kept so that arms can be compared: few numbers a request, from which intervals are made. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.compare.statistics import Percentile, PerSecond, Series, Statistic
from benchmarks.load.record import Outcome, Record

Place = tuple[str, float]
"""Workload and load."""

TTFT, E2E, TOKENS = "TTFT P90", "E2E P90", "output tokens/s"
FIGURES: Mapping[str, Statistic] = {TTFT: Percentile(90), E2E: Percentile(90), TOKENS: PerSecond()}
"""What arms are compared by: of answered requests by when they were due, and of tokens by when their answers ended."""


def samples(records: Iterable[Record], start_s: float, end_s: float) -> dict[str, Any]:
    """`unanswered` leaves out those whose client left as it had meant to."""
    due: list[list[float]] = []
    ended: list[list[float]] = []
    unanswered = asked = 0
    for record in records:
        answered = record.outcome is Outcome.ANSWERED
        if record.measured and record.outcome is not Outcome.LEFT:
            asked += 1
            unanswered += not answered
        if not answered or record.e2e_s is None or record.ended_s is None:
            continue
        if record.measured:
            due.append([round(record.due_s, 3), _ms(record.ttft_s), _ms(record.e2e_s)])
        if start_s <= record.ended_s < end_s:
            ended.append([round(record.ended_s, 3), record.output_tokens or 0])
    return {
        "start_s": start_s,
        "end_s": end_s,
        "asked": asked,
        "unanswered": unanswered,
        "due": due,
        "ended": ended,
    }


@dataclass(slots=True)
class Arm:
    """One arm at one place. `series` has for each figure what each repeat gave; `rows` are those repeats' rows."""

    rows: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    series: dict[str, dict[int, Series]] = field(default_factory=lambda: {name: {} for name in FIGURES})
    asked: int = 0
    unanswered: int = 0

    @property
    def unanswered_share(self) -> float:
        return self.unanswered / self.asked if self.asked else 0.0

    def add(self, row: Mapping[str, Any]) -> None:
        kept, repeat = row["samples"], row["repeat"]
        self.rows[repeat] = row
        self.asked += kept["asked"]
        self.unanswered += kept["unanswered"]
        due = np.array(kept["due"], dtype=np.float64).reshape(-1, 3)
        ended = np.array(kept["ended"], dtype=np.float64).reshape(-1, 2)
        for name, at_s, values in (
            (TTFT, due[:, 0], due[:, 1]),
            (E2E, due[:, 0], due[:, 2]),
            (TOKENS, ended[:, 0], ended[:, 1]),
        ):
            told = ~np.isnan(values)
            self.series[name][repeat] = Series(at_s[told], values[told], kept["start_s"], kept["end_s"])


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)


def gathered(rows: Iterable[Mapping[str, Any]]) -> dict[Place, dict[str, Arm]]:
    """Rows that have figures that can be believed. A ValueError where arms of one block played different scripts."""
    found: dict[Place, dict[str, Arm]] = {}
    digests: dict[tuple[str, float, int], tuple[str, str]] = {}
    for row in rows:
        if row["trouble"] is not None or not row["valid"]:
            continue
        place = row["workload"], row["load"]
        arm, digest = digests.setdefault((*place, row["repeat"]), (row["arm"], row["digest"]))
        if digest != row["digest"]:
            raise ValueError(
                f"{place[0]} at {place[1]:g}, repeat {row['repeat']}: {arm} played script {digest}, {row['arm']} played"
                f" {row['digest']}; only arms that played the same are compared"
            )
        found.setdefault(place, {}).setdefault(row["arm"], Arm()).add(row)
    return found


def paired(ours: Arm, theirs: Arm, figure: str) -> tuple[Sequence[Series], Sequence[Series]]:
    """Of the repeats that both have."""
    one, other = ours.series[figure], theirs.series[figure]
    common = sorted(one.keys() & other.keys())
    return [one[repeat] for repeat in common], [other[repeat] for repeat in common]
