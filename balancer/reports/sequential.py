"""Which arm is better, asked as often as one likes: a test that stays valid however often somebody looks and whenever they
stop.

The law: outcomes come in the order in which conversations did. As soon as both arms have some that were not used yet, these
make one comparison, a number in [-1, 1] whose mean is 0 if the arms don't differ, whatever the outcomes' distribution is and
however unequal the arms' shares are: it depends on arms alone when a comparison is made. Against a mean m one bets on the
comparisons, always with what is known before each; a bettor against the true mean multiplies his stake by 1/alpha with
probability alpha at most, ever (Ville 1939). All m against which he has not are the confidence sequence: the hedged,
predictable plug-in bets of Waudby-Smith and Ramdas 2024 ("Estimating means of bounded random variables by betting", JRSS B
86(1)), and their running intersection.

Outcomes in [0, 1] (ratings, successes) are compared by their difference; times and money, which have no bound, by which is
less: then the number is P(a less than b) - P(b less than a), and 0 if both are distributed alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ALPHA = 0.05
_GRID = np.linspace(0.0, 1.0, 401)
_STEP = 1.0 / 400
_CHUNK = 1024
_BOUNDED_BET = 0.5


class Better(StrEnum):
    HIGHER = "higher"  # outcomes in [0, 1]
    LOWER = "lower"  # times, money


@dataclass(frozen=True, slots=True)
class Verdict:
    """`low` to `high` holds, at every look at once with probability 95 %, by how much the first arm is better (HIGHER: mean
    difference; LOWER: how much more often it is the lower one). `e_value` is the highest that a bet against no difference ever
    reached; 1 / `e_value` is an anytime-valid p-value. `at` is the comparison at which it was decided.
    """

    comparisons: int
    low: float
    high: float
    e_value: float
    at: int | None

    @property
    def decided(self) -> bool:
        return self.at is not None


def compare(outcomes: Floats, first: NDArray[np.bool_], better: Better, alpha: float = ALPHA) -> Verdict:
    """`outcomes` in the order in which they came, `first`: whether each is of the first arm; all others are of the second."""
    return judge(comparisons(outcomes, first, better), alpha)


def comparisons(outcomes: Floats, first: NDArray[np.bool_], better: Better) -> Floats:
    """One number in [-1, 1] for each time that both arms had outcomes waiting; positive where the first is better."""
    waiting: tuple[list[float], list[float]] = ([], [])
    found = []
    for outcome, is_first in zip(outcomes.tolist(), first.tolist(), strict=True):
        waiting[not is_first].append(outcome)
        ours, theirs = waiting
        if ours and theirs:
            found.append(_difference(ours, theirs) if better is Better.HIGHER else _less(ours, theirs))
            ours.clear()
            theirs.clear()
    return np.array(found, dtype=np.float64)


def judge(found: Floats, alpha: float = ALPHA) -> Verdict:
    """`found` are the comparisons in their order."""
    low, high, best, at = 0.0, 1.0, 0.0, None
    means, logs = _GRID, np.zeros((2, _GRID.size))  # those that may still be the true one, and no difference
    unit = (found + 1.0) / 2.0
    bets = _bets(unit, alpha)
    for start in range(0, unit.size, _CHUNK):
        x, bet = unit[start : start + _CHUNK, None], bets[start : start + _CHUNK, None]
        with np.errstate(divide="ignore"):
            up = np.log1p(np.minimum(bet, _BOUNDED_BET / means) * (x - means))
            down = np.log1p(-np.minimum(bet, _BOUNDED_BET / (1.0 - means)) * (x - means))
        np.cumsum(up, axis=0, out=up)
        np.cumsum(down, axis=0, out=down)
        up += logs[0]
        down += logs[1]
        logs = np.stack((up[-1], down[-1]))
        capital = np.maximum(up, down) + np.log(0.5)  # half on each side; the better half alone counts
        against = capital >= np.log(1.0 / alpha)
        middle = int(np.searchsorted(means, 0.5))
        best = max(best, float(capital[:, middle].max()))
        if at is None and against[:, middle].any():
            at = start + int(against[:, middle].argmax()) + 1
        kept = ~against.any(axis=0) & (np.clip(means, low, high) == means)
        kept[middle] &= at is None
        if not kept.any():  # more than the alpha that is allowed for has happened: nothing is claimed
            return Verdict(int(unit.size), -1.0, 1.0, float(np.exp(best)), None)
        low, high = max(low, means[kept][0] - _STEP), min(high, means[kept][-1] + _STEP)
        kept[middle] = True
        means, logs = means[kept], logs[:, kept]
    return Verdict(int(unit.size), 2 * max(0.0, low) - 1, 2 * min(1.0, high) - 1, float(np.exp(best)), at)


def _bets(unit: Floats, alpha: float) -> Floats:
    """How much to bet on each, by the mean and the variance of those before it."""
    n = np.arange(1, unit.size + 1)
    means = (0.5 + np.cumsum(unit)) / (n + 1)
    variances = (0.25 + np.cumsum((unit - means) ** 2)) / (n + 1)
    before = np.concatenate(([0.25], variances[:-1]))
    bets: Floats = np.sqrt(2 * np.log(2 / alpha) / (before * n * np.log(1 + n)))
    return bets


def _difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return sum(ours) / len(ours) - sum(theirs) / len(theirs)


def _less(ours: Sequence[float], theirs: Sequence[float]) -> float:
    wins = sum((a < b) - (a > b) for a in ours for b in theirs)
    return wins / (len(ours) * len(theirs))
