"""Where scores are cut between a tier and the next stronger one.

A share is held by what is asked now, not by a threshold that was fitted elsewhere, since scores don't transfer between
workloads: a threshold that is to send 30 % to the strong model sends 5 to 100 % of another benchmark there.

    threshold = quantile(1 - p) of the last WINDOW scores,    p = share + debt / HORIZON
    debt     += share - sent                                  sent: 1 for a request that went up, whatever sent it there

So what conversations, rules, explorations and fallbacks send up is paid back by those whose score decides, within some HORIZON
requests, and the realised share is the one that was asked for. (An integral controller; the quantile itself follows drift.)
Scores that are all alike are parted by a draw. A debt is forgotten, as old scores are, in OLD_S.

With more than two tiers each step passes the same share of what the one before it passed: of shares s, s goes beyond the
weakest tier, s * s beyond the second, and a threshold t is 1 - (1 - t) ** step, which is the same of scores that are
percentiles of the mix.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right, insort
from collections import deque
from math import exp, inf, nextafter
from typing import NamedTuple

from balancer.core.tiering.types import StrongShare, Target, Threshold

WINDOW = 2000
FIRST = 40
"""So many scores, evenly spread, are believed before any was seen: a score is the percentile of a reference mix."""
HORIZON = 200.0
"""Requests in which what was sent too often is made good."""
OLD_S = 3600.0
FEWEST = 200
"""So many scores are kept, however old they are."""


class Calibrated(NamedTuple):
    """What keeps a quality floor, by a classifier's calibration on labelled requests: the least share of the strong tier, and
    the score that this share began at there.
    """

    share: float
    score: float


class Cut(ABC):
    """One step, from a tier to the next: `chance` of a score to go up, in [0, 1]."""

    @abstractmethod
    def threshold(self, now: float) -> float:
        """Scores of at least this go up."""

    def chance(self, score: float, now: float) -> float:
        return 1.0 if score >= self.threshold(now) else 0.0

    @abstractmethod
    def add(self, score: float | None, now: float, *, strong: bool | None = None) -> None:
        """A request was sent, with this score, if it had one. `strong`: whether it went up; None: as its score says."""

    @abstractmethod
    def moved(self, up: int) -> None:
        """A request that was added went up after all (1), or down (-1)."""


class Fixed(Cut):
    """A threshold that the user set."""

    def __init__(self, score: float) -> None:
        self._score = score

    def __repr__(self) -> str:
        return f"<Fixed at {self._score:.3f}>"

    def threshold(self, now: float) -> float:
        return self._score

    def add(self, score: float | None, now: float, *, strong: bool | None = None) -> None:
        """Nothing is held."""

    def moved(self, up: int) -> None:
        """Nothing is held."""


class ShareKeeper(Cut):
    """`share` in [0, 1] may be set at any time."""

    def __init__(self, share: float, window: int = WINDOW) -> None:
        self.share = share
        self._window = window
        self._first = min(FIRST, window)
        self._sorted = [(number + 0.5) / self._first for number in range(self._first)]
        self._scores = deque((score, -inf) for score in self._sorted)
        self._debt = 0.0
        self._at_s = -inf

    def __repr__(self) -> str:
        return (
            f"<ShareKeeper of {self.share:.0%}, debt {self._debt:+.1f} requests, {len(self._scores)} scores>"
        )

    def threshold(self, now: float) -> float:
        """Without a draw, those right at the cut go up all or none: whichever is nearer."""
        threshold, ties = self._cut(now)
        return threshold if ties >= 0.5 else nextafter(threshold, inf)

    def chance(self, score: float, now: float) -> float:
        threshold, ties = self._cut(now)
        if score == threshold:
            return ties
        return 1.0 if score > threshold else 0.0

    def add(self, score: float | None, now: float, *, strong: bool | None = None) -> None:
        if strong is None:
            strong = score is not None and score >= self.threshold(now)
        self._debt = self._owed(now) + self.share - strong
        self._debt = max(-self.share * HORIZON, min((1 - self.share) * HORIZON, self._debt))
        self._at_s = now
        if score is not None:
            self._remember(score, now)

    def moved(self, up: int) -> None:
        self._debt -= up

    def _cut(self, now: float) -> tuple[float, float]:
        """The threshold, and the share of those right at it that go up."""
        ordered = self._sorted
        count = len(ordered)
        up = count * (self.share + self._owed(now) / HORIZON)
        if up <= 0:
            return nextafter(ordered[-1], inf), 0.0
        if up >= count:
            return ordered[0], 1.0
        threshold = ordered[min(count - 1, int(count - up))]
        first, after = bisect_left(ordered, threshold), bisect_right(ordered, threshold)
        return threshold, min(1.0, max(0.0, (up - (count - after)) / (after - first)))

    def _owed(self, now: float) -> float:
        return self._debt * exp(min(0.0, self._at_s - now) / OLD_S) if self._debt else 0.0

    def _remember(self, score: float, now: float) -> None:
        scores, ordered = self._scores, self._sorted
        scores.append((score, now))
        insort(ordered, score)
        while len(scores) > self._window or (len(scores) > FEWEST and scores[0][1] < now - OLD_S):
            del ordered[bisect_left(ordered, scores.popleft()[0])]


class Floor(ShareKeeper):
    """At least the share, and at least the scores, that calibration found to keep the floor: where requests are harder than
    those that it saw, more go up than the share.
    """

    def __init__(self, calibrated: Calibrated, window: int = WINDOW) -> None:
        super().__init__(calibrated.share, window)
        self._score = calibrated.score

    def _cut(self, now: float) -> tuple[float, float]:
        threshold, ties = super()._cut(now)
        return (self._score, 1.0) if self._score < threshold else (threshold, ties)


def cut_of(target: Target, step: int = 1, calibrated: Calibrated | None = None) -> Cut:
    """The cut of the first step, from the weakest tier up, or of a later one. A quality floor of which nothing was calibrated
    is kept by the strongest tier alone.
    """
    match target:
        case StrongShare(share):
            return ShareKeeper(share**step)
        case Threshold(score):
            return Fixed(1 - (1 - score) ** step)
        case _:
            found = calibrated or Calibrated(1.0, 0.0)
            return Floor(Calibrated(found.share**step, 1 - (1 - found.score) ** step))
