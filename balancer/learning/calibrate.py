"""From scores to thresholds: for a share of strong calls, or for a floor of quality.

A floor is promised by testing shares in one order, from all strong downwards, and stopping at the first that the rows don't
prove at 95 %: so trying many shares costs no confidence (fixed-sequence testing, as in Angelopoulos et al., Learn then Test,
arXiv:2110.01052, 2021). What a share keeps is the ratio of two means; its lower bound is Student's, on rows to which two that
lose all and two that lose nothing were added (after Agresti and Coull 1998), since losses are rare and a sample may show none.
"""

from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np

from balancer.learning.rows import Floats

LEVEL: Final = 0.95
STEPS: Final = 40
LEAST_ROWS: Final = 50
_ADDED: Final = 2.0


class Step(NamedTuple):
    """Sending scores of at least `threshold` to the strong model is the share `share`, and keeps the part `kept` of its quality,
    at least `low` with 95 % confidence.
    """

    share: float
    threshold: float
    kept: float
    low: float


class Promise(NamedTuple):
    """The least share that keeps the floor; `proven` is False where none but all strong does."""

    step: Step
    rows: int
    proven: bool


ALL_STRONG: Final = Step(1.0, 0.0, 1.0, 1.0)


def threshold_for(scores: Floats, share: float) -> float:
    """The score that this share of the scores reaches. With ties more may reach it; a live share is kept online."""
    return float(np.quantile(scores, 1 - share, method="higher"))


def steps(scores: Floats, weak: Floats, strong: Floats, level: float = LEVEL) -> list[Step]:
    """From all strong to all weak, (STEPS + 1,)."""
    found = [ALL_STRONG]
    if len(scores) < LEAST_ROWS:
        return found
    for share in np.linspace(1, 0, STEPS + 1)[1:]:
        threshold = (
            threshold_for(scores, float(share)) if share > 0 else float(np.nextafter(scores.max(), np.inf))
        )
        sent = scores >= threshold
        kept, low = _kept(np.where(sent, strong, weak), strong, level)
        found.append(Step(float(sent.mean()), threshold, kept, low))
    return found


def promise(found: list[Step], floor: float, rows: int) -> Promise:
    """The last step before the first that does not hold the floor."""
    best = found[0]
    for step in found[1:]:
        if step.low < floor:
            break
        best = step
    return Promise(best, rows, proven=best is not found[0])


def _kept(routed: Floats, strong: Floats, level: float) -> tuple[float, float]:
    """The part of the strong model's quality that `routed` keeps, and its lower bound."""
    mean = float(strong.mean())
    if mean <= 0:
        return 1.0, 0.0
    kept = float(routed.mean()) / mean
    count = len(routed) + 2 * _ADDED
    lost = (routed - kept * strong) / mean  # its mean is 0: the deviations of a ratio
    centre = -_ADDED * kept / count
    square = (float(lost @ lost) + _ADDED * kept**2) / count - centre**2
    error = np.sqrt(square / (count - 1))
    return kept, float(kept + centre - _student(level, int(count) - 1) * error)


def _student(level: float, freedom: int) -> float:
    """Student's quantile by Cornish and Fisher's expansion; to 0.1 % from ten degrees of freedom on."""
    z = NormalDist().inv_cdf(level)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
