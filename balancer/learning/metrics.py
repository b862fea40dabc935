"""How good a router is: RouteLLM's measures, exact, with intervals.

With r(x) the mean quality when the share x of the requests, those of the highest scores, goes to the strong model:
PGR(x) = (r(x) - weak) / (strong - weak); APGR is its area over x in [0, 1]; CPT(p) the smallest share with PGR >= p
(Ong et al., RouteLLM, arXiv:2406.18665, 2024). Chance has 0.5 and more than 1 is possible, since the strong model loses some.

Requests of one score are as if drawn in random order: the curve runs straight through them, and so is no draw of its own.
CPT is read off the curve at tenths, as RouteLLM reads it. Intervals resample prompts (bootstrap), not training sets.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balancer.learning.rows import Floats

BINS = 10
CPTS = (0.5, 0.8, 0.95)
FLOORS = (0.9, 0.95, 0.98)


@dataclass(frozen=True, slots=True)
class Curve:
    """`quality[k]` is the mean quality at the strong share `share[k]`; both rise from all weak to all strong, by share."""

    share: Floats
    quality: Floats

    def at(self, share: Floats) -> Floats:
        return np.interp(share, self.share, self.quality)

    @property
    def gap(self) -> float:
        return float(self.quality[-1] - self.quality[0])

    @property
    def apgr(self) -> float:
        """NaN where the strong model is not the better one: then there is nothing to gain."""
        if self.gap <= 0:
            return float("nan")
        return float(np.trapezoid((self.quality - self.quality[0]) / self.gap, self.share))

    def cpt(self, part: float) -> float:
        grid = np.linspace(0, 1, BINS + 1)
        return _crossing(grid, self.at(grid), self.quality[0] + part * self.gap)

    def share_for(self, part: float) -> float:
        """The least strong share that keeps `part` of the strong model's quality, on the exact curve; 1 where none else does."""
        return _crossing(self.share, self.quality, part * float(self.quality[-1]))


def curve(score: Floats, weak: Floats, strong: Floats, weight: Floats | None = None) -> Curve:
    """`score` (n,): higher goes to the strong model first. `weak`, `strong` (n,): qualities. `weight` (n,): counts of rows."""
    return Ranked(score).curve(weak, strong, weight)


class Ranked:
    """The order that scores make, sorted once for many weightings."""

    def __init__(self, score: Floats) -> None:
        self._order = np.argsort(-score, kind="stable")
        ranked = score[self._order]
        self._ends = np.append(
            np.flatnonzero(np.diff(ranked)), len(ranked) - 1
        )  # last of each run of equal scores

    def curve(self, weak: Floats, strong: Floats, weight: Floats | None = None) -> Curve:
        count = np.ones(len(weak)) if weight is None else weight
        total = count.sum()
        moved = np.cumsum(count[self._order])[self._ends]
        gained = np.cumsum((count * (strong - weak))[self._order])[self._ends]
        start = float((count * weak).sum() / total)
        return Curve(np.append(0.0, moved / total), start + np.append(0.0, gained / total))


def oracle(weak: Floats, strong: Floats) -> Curve:
    """Who knows what each request gains."""
    return curve(strong - weak, weak, strong)


@dataclass(frozen=True, slots=True)
class Interval:
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Measures:
    """`cpt` by part of the gap, `floors` the strong share by part of the strong model's quality; all with 95 % intervals."""

    apgr: Interval
    cpt: dict[float, Interval]
    floors: dict[float, Interval]


def resamples(rows: int, draws: int, seed: int, groups: NDArray[np.intp] | None = None) -> Floats:
    """How often each row is in each bootstrap draw, (draws, rows). Rows of one group come and go together."""
    rng = np.random.default_rng(seed)
    group = np.arange(rows) if groups is None else groups
    count = int(group.max()) + 1
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=draws)
    return drawn[:, group].astype(np.float64)


def measure(score: Floats, weak: Floats, strong: Floats, draws: Floats) -> Measures:
    """With percentile intervals over `draws`, which `resamples` made."""
    ranked = Ranked(score)
    whole = ranked.curve(weak, strong)
    drawn = [
        each
        for each in (ranked.curve(weak, strong, weight) for weight in draws if weight.any())
        if each.gap > 0
    ]
    return Measures(
        _interval(whole.apgr, [each.apgr for each in drawn]),
        {part: _interval(whole.cpt(part), [each.cpt(part) for each in drawn]) for part in CPTS},
        {
            floor: _interval(whole.share_for(floor), [each.share_for(floor) for each in drawn])
            for floor in FLOORS
        },
    )


def advantage(score: Floats, other: Floats, weak: Floats, strong: Floats, draws: Floats) -> Interval:
    """By how much APGR of `score` is above that of `other`, paired on the same draws: what both owe to luck cancels out."""
    first, second = Ranked(score), Ranked(other)
    pairs = [(first.curve(weak, strong, w), second.curve(weak, strong, w)) for w in draws if w.any()]
    differences = [a.apgr - b.apgr for a, b in pairs if a.gap > 0]
    return _interval(first.curve(weak, strong).apgr - second.curve(weak, strong).apgr, differences)


def _interval(value: float, drawn: list[float]) -> Interval:
    if not drawn:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.percentile(np.array(drawn), [2.5, 97.5])
    return Interval(value, float(low), float(high))


def _crossing(x: Floats, y: Floats, level: float) -> float:
    """Where the line through (x, y) first reaches `level`; 1 where it never does."""
    reached = y >= level - 1e-12
    k = int(np.argmax(reached))
    if not reached[k]:
        return 1.0
    if k == 0:
        return 0.0
    return float(x[k - 1] + (level - y[k - 1]) / (y[k] - y[k - 1]) * (x[k] - x[k - 1]))
