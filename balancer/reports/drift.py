"""Whether what clients ask has changed: the distribution of scores lately, against before.

PSI, the population stability index, over tenths of the scores before: `sum((q - p) ln(q / p))`. By custom 0.1 is worth a look
and 0.25 a change. Of small samples it is large by chance alone: under no change `PSI / (1/n + 1/m)` is about chi-square with 9
degrees (Yurdakul 2018), so it must exceed the 99 % quantile of that too. KS, the largest distance between the two distribution
functions, is told beside it. Requests of a conversation say much the same: one score each.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST = 100
BINS = 10
_CHI_SQUARE_99 = 21.666  # 9 degrees
_LOOK, _CHANGE = 0.1, 0.25


class Judged(StrEnum):
    UNKNOWN = "too few scores to tell"
    STABLE = "as before"
    MOVED = "moved"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Drift:
    """`before` and `now` count scores; the medians tell which way it went."""

    judged: Judged
    before: int
    now: int
    psi: float | None = None
    ks: float | None = None
    median_before: float | None = None
    median_now: float | None = None


def drift(before: Floats, now: Floats) -> Drift:
    n, m = int(before.size), int(now.size)
    if min(n, m) < LEAST:
        return Drift(Judged.UNKNOWN, n, m)
    edges = np.unique(np.quantile(before, np.linspace(0, 1, BINS + 1)[1:-1]))
    p, q = (_shares(each, edges) for each in (before, now))
    psi = float(((q - p) * np.log(q / p)).sum())
    chance = _CHI_SQUARE_99 * (1 / n + 1 / m)
    judged = Judged.STABLE
    if psi >= max(_LOOK, chance):
        judged = Judged.CHANGED if psi >= _CHANGE else Judged.MOVED
    return Drift(judged, n, m, psi, _ks(before, now), float(np.median(before)), float(np.median(now)))


def _shares(scores: Floats, edges: Floats) -> Floats:
    """Never 0: half a score is added to each bin."""
    counts = np.bincount(np.searchsorted(edges, scores, side="right"), minlength=edges.size + 1) + 0.5
    shares: Floats = counts / counts.sum()
    return shares


def _ks(a: Floats, b: Floats) -> float:
    at = np.concatenate((a, b))
    found = [np.searchsorted(np.sort(each), at, side="right") / each.size for each in (a, b)]
    return float(np.abs(found[0] - found[1]).max())
