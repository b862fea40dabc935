"""What the mean outcome would be if one tier had served everything: inverse propensity weighting, with intervals.

The law: an answer of a tier stands for 1/p requests like it, p being the probability with which the tier was chosen for it, as
it was logged. The estimate is the self-normalised (Hájek) one, `sum(w y) / sum(w)`; weights that are far apart make it worth
fewer requests than it has, `(sum w)^2 / sum w^2` (Kish). Requests of a conversation are not independent: everything is added up
by conversation before its variance is taken (the ratio estimator's linearisation, clustered, as the jackknife corrects it; a
mean's interval is Wilson's with as many answers as have that variance, since near 1 a symmetric one is too short), and where
fewer than `LEAST` conversations' worth of evidence is there, no interval is given: it would be too narrow.

Where a tier could not have been chosen (p = 1 for another one) nothing is known of it: such requests must be left out before.
Sources: Hájek 1971; Kish 1965; Liang and Zeger 1986 for the clusters; Dean and Pagano 2015 for the interval; Swaminathan and
Joachims 2015 for self-normalising.
"""

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEAST = 50
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Estimate:
    """`low` and `high` hold the truth in 95 % of such logs; None: too little evidence, `effective` conversations' worth."""

    value: float
    low: float | None
    high: float | None
    effective: float
    rows: int

    @property
    def enough(self) -> bool:
        return self.low is not None


@dataclass(frozen=True, slots=True)
class Weighted:
    """An estimate with what each conversation contributes to its error, so that two on the same rows can be compared."""

    value: float
    effective: float
    rows: int
    influence: Floats  # by conversation

    def estimate(self, least: float = LEAST) -> Estimate:
        if self.effective < least:
            return Estimate(self.value, None, None, self.effective, self.rows)
        spread, room = _spread(self.influence), self.value * (1.0 - self.value)
        # of as many independent answers, right or wrong, the mean would be as uncertain
        answers = room / spread**2 if spread > 0 and room > 0 else self.effective
        low, high = wilson(self.value * answers, answers, _student(self.effective - 1))
        return Estimate(self.value, low, high, self.effective, self.rows)

    def minus(self, other: "Weighted", least: float = LEAST) -> Estimate:
        value, effective = self.value - other.value, min(self.effective, other.effective)
        rows = min(self.rows, other.rows)
        if effective < least:
            return Estimate(value, None, None, effective, rows)
        half = _student(effective - 1) * _spread(self.influence - other.influence)
        return Estimate(value, value - half, value + half, effective, rows)


def weigh(outcome: Floats, weight: Floats, cluster: Ints, clusters: int) -> Weighted | None:
    """The weighted mean of `outcome` over rows, whose conversations are numbered in [0, clusters). A weight of 0 leaves a row
    out; None: all are left out.
    """
    total = weight.sum()
    if total <= 0:
        return None
    value = float((weight * outcome).sum() / total)
    influence = np.bincount(cluster, weight * (outcome - value) / total, clusters).astype(np.float64)
    by_cluster = np.bincount(cluster, weight, clusters)
    # what leaving the conversation out would change, as the jackknife has it: few with large weights pull the mean to themselves
    influence /= np.maximum(1.0 - by_cluster / total, 1e-9)
    effective = float(total**2 / (by_cluster**2).sum())
    return Weighted(value, effective, int(np.count_nonzero(weight)), influence)


def of_tier(outcome: Floats, served: Bools, odds: Floats, cluster: Ints, clusters: int) -> Weighted | None:
    """The mean outcome if that tier had served all of these rows. `served` are those that it did, `odds` the probability that it
    would, of all rows.

    It is worth no more than the draw was likely to give it: `n^2 / sum 1/odds`. Else a tier that by bad luck got none of the
    unlikely ones would look well known by the likely ones.
    """
    found = weigh(outcome, np.where(served, 1.0 / odds, 0.0), cluster, clusters)
    if found is None:
        return None
    rows = np.bincount(cluster, minlength=clusters)
    mean_odds = np.bincount(cluster, odds, clusters) / np.maximum(rows, 1)
    drawn = float(rows.sum() ** 2 / (rows**2 / np.maximum(mean_odds, 1e-12)).sum())
    return replace(found, effective=min(found.effective, drawn))


def as_served(outcome: Floats, cluster: Ints, clusters: int) -> Weighted | None:
    return weigh(outcome, np.ones_like(outcome), cluster, clusters)


def wilson(successes: float, trials: float, z: float = _Z) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if trials <= 0:
        return 0.0, 1.0
    share, z2 = successes / trials, z**2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z / (1 + z2 / trials) * sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _spread(influence: Floats) -> float:
    taking_part = int(np.count_nonzero(influence))
    return sqrt(float((influence**2).sum()) * taking_part / max(1, taking_part - 1))


def _student(freedom: float) -> float:
    """The 97.5 % quantile of Student's t, to a thousandth from 10 on (Abramowitz and Stegun 26.7.5)."""
    z = _Z
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
