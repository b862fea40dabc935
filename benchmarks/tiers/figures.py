"""How good a score is at choosing between a weak and a strong model.

PGR(x) = (quality with the share x of the requests on the strong model - weak) / (strong - weak); APGR is the area under it:
0.5 by chance (Ong et al. 2024, RouteLLM). Exact over all cut points; ties count as in the mean over their orders.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]

DRAWS: Final = 400


class Estimate(NamedTuple):
    """A figure with its 95 % bootstrap interval over prompts."""

    value: float
    low: float
    high: float


def apgr(scores: Numbers, weak: Numbers, strong: Numbers) -> float:
    return float(_area(_recovered(scores, strong - weak)))


def cpt(scores: Numbers, weak: Numbers, strong: Numbers, recovered: float) -> float:
    """The least share of strong calls that recovers this part of the gap."""
    curve = _recovered(scores, strong - weak)
    return float(np.argmax(curve >= recovered * curve[-1]) / (len(curve) - 1))


def bootstrap(scores: Numbers, weak: Numbers, strong: Numbers, *, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """APGR and its interval; resamples in which the strong model is no better have none and are left out."""
    rng = np.random.default_rng(seed)
    order = np.argsort(-scores, kind="stable")
    sorted_scores, gain = scores[order], (strong - weak)[order]
    areas = []
    for _ in range(draws):
        times = np.bincount(rng.integers(0, len(gain), len(gain)), minlength=len(gain))
        again = np.repeat(np.arange(len(gain)), times)
        if gain[again].sum() > 0:
            areas.append(_area(_ordered(sorted_scores[again], gain[again])))
    low, high = np.percentile(areas, [2.5, 97.5])
    return Estimate(apgr(scores, weak, strong), float(low), float(high))


def _recovered(scores: Numbers, gain: Numbers) -> Numbers:
    order = np.argsort(-scores, kind="stable")
    return _ordered(scores[order], gain[order])


def _ordered(scores: Numbers, gain: Numbers) -> Numbers:
    """What is gained by the first 0, 1, ... n of the rows, which come in order of their scores."""
    starts = np.flatnonzero(np.concatenate(([True], scores[1:] != scores[:-1])))
    counts = np.diff(np.append(starts, len(scores)))
    level = np.repeat(np.add.reduceat(gain, starts) / counts, counts)
    return np.concatenate(([0.0], np.cumsum(level)))


def _area(curve: Numbers) -> Any:
    return np.trapezoid(curve / curve[-1], dx=1.0 / (len(curve) - 1))
