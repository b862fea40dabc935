"""Where a cluster's knee is: the highest rate at which it keeps a service level. Pure; a callback measures.

Whether a run near the knee keeps the level is partly chance, and one wrong answer sends a bisection to the wrong side for good.
So the search holds a belief over all rates and asks at its median (QUEST: Watson and Pelli, 1983): far from the knee
an answer rules out a side, near it an answer only tilts, and a contradiction is asked again by itself. It ends when
the middle 80 % of the belief lies within `tolerance` of the median on either side, or after `most_runs`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np
import numpy.typing as npt

from benchmarks.load.record import Outcome, Record
from benchmarks.stats import percentile

LOADS = (0.5, 0.7, 0.9, 1.0, 1.1)
"""Load points of a comparison, in knees."""
_OCTAVES = 6
"""How far from the guess the knee may be; the belief before the first run is a bell of one octave."""
_STEP = 0.01
_WIDTH = 0.05
"""By how much, in log rate, the knee of one run wanders about the knee of all."""
_LAPSE = 0.02
"""How often an answer is wrong whatever the rate: a machine that was busy for a while."""
_TAIL = 0.1


@dataclass(frozen=True, slots=True)
class Level:
    """What is to be kept. `answered`: of those due, how many are. `drained`: answers that came within the measured time
    over requests due in it; less means that a queue is growing, whatever the latencies so far.
    """

    ttft_p90_s: float
    answered: float = 0.99
    drained: float = 0.9

    def __post_init__(self) -> None:
        if not self.ttft_p90_s > 0:
            raise ValueError(f"ttft_p90_s: expected more than 0, got {self.ttft_p90_s}")
        for name in ("answered", "drained"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected more than 0 and at most 1, got {getattr(self, name)}")

    def kept(self, point: "Point") -> bool:
        return (
            point.ttft_p90_s is not None
            and point.ttft_p90_s <= self.ttft_p90_s
            and point.answered >= self.answered
            and point.drained >= self.drained
        )


@dataclass(frozen=True, slots=True)
class Point:
    """What one run at `rate` came to."""

    rate: float
    ttft_p90_s: float | None
    answered: float
    drained: float


@dataclass(frozen=True, slots=True)
class Knee:
    """`low` to `high` is the middle 80 % of the belief; `points` are all runs, in their order."""

    rate: float
    low: float
    high: float
    points: tuple[Point, ...]


def point(rate: float, records: Sequence[Record], start_s: float, end_s: float) -> Point:
    """Clients that left as they had meant to are no failures."""
    due = [record for record in records if record.measured and record.outcome is not Outcome.LEFT]
    answered = [record for record in due if record.outcome is Outcome.ANSWERED]
    ended = sum(
        record.outcome is Outcome.ANSWERED
        and record.ended_s is not None
        and start_s <= record.ended_s < end_s
        for record in records
    )
    ttft = [record.ttft_s for record in answered if record.ttft_s is not None]
    count = max(1, len(due))
    return Point(rate, percentile(ttft, 90), len(answered) / count, ended / count)


async def search(
    measure: Callable[[float], Awaitable[Point]],
    level: Level,
    guess: float,
    *,
    tolerance: float = 0.05,
    most_runs: int = 12,
) -> Knee:
    """`measure` gives each rate a run of its own, with cold caches and its own seed. ValueError: it is out of reach."""
    if not guess > 0:
        raise ValueError(f"guess: expected a rate above 0, got {guess}")
    belief = _Belief(log(guess))
    points: list[Point] = []
    while len(points) < most_runs and not belief.settled(tolerance):
        rate = exp(belief.at(0.5))
        points.append(await measure(rate))
        belief.learn(log(rate), kept=level.kept(points[-1]))
    if len({level.kept(each) for each in points}) == 1:
        always = level.kept(points[0])
        raise ValueError(
            f"knee: expected a rate that keeps TTFT P90 <= {level.ttft_p90_s:g} s and one that does not;"
            f" {'all' if always else 'none'} of {len(points)} from {min(p.rate for p in points):.3g}"
            f" to {max(p.rate for p in points):.3g} a second {'do' if always else 'does'}"
        )
    rate, low, high = (exp(belief.at(share)) for share in (0.5, _TAIL, 1 - _TAIL))
    return Knee(rate, low, high, tuple(points))


class _Belief:
    """Over log rates, how likely the knee is there."""

    def __init__(self, centre: float) -> None:
        reach = _OCTAVES * log(2)
        self._places: npt.NDArray[np.float64] = np.arange(centre - reach, centre + reach, _STEP)
        self._weights = np.exp(-0.5 * ((self._places - centre) / log(2)) ** 2)

    def learn(self, place: float, *, kept: bool) -> None:
        keeps = _LAPSE + (1 - 2 * _LAPSE) / (1 + np.exp(-(self._places - place) / _WIDTH))
        self._weights *= keeps if kept else 1 - keeps
        self._weights /= self._weights.sum()

    def at(self, share: float) -> float:
        """The place below which this share of the belief lies."""
        upto = np.cumsum(self._weights)
        return float(self._places[np.searchsorted(upto, share * upto[-1])])

    def settled(self, tolerance: float) -> bool:
        return self.at(1 - _TAIL) - self.at(_TAIL) <= 2 * tolerance
