"""What is promised of a share and of a floor, on benchmarks that the score never met."""

from typing import Final

import numpy as np

from balancer.core.tiering.score.ridge import Doubles
from balancer.core.tiering.share import ShareKeeper
from balancer.learning.calibrate import promise, steps

REQUESTS: Final = 4000
SETTLED: Final = 2000
SHARE: Final = 0.3
FLOOR: Final = 0.95
REQUESTS_PER_S: Final = 5.0


def held_share(scores: Doubles, seed: int = 0) -> float:
    """The strong share that was held of requests beyond SETTLED, drawn from these with replacement."""
    rng = np.random.default_rng(seed)
    keeper = ShareKeeper(SHARE)
    strong = 0
    for i, score in enumerate(rng.choice(scores, REQUESTS)):
        now = i / REQUESTS_PER_S
        up = bool(rng.random() < keeper.chance(float(score), now))
        keeper.add(float(score), now, strong=up)
        strong += up and i >= SETTLED
    return strong / (REQUESTS - SETTLED)


def fixed_share(percentiles: Doubles) -> float:
    """The share that the threshold sends, which would send SHARE of the prompts that the score was trained on."""
    return float((percentiles >= 1 - SHARE).mean())


def floor_broken(
    scores: Doubles, weak: Doubles, strong: Doubles, runs: int, seed: int = 0
) -> tuple[float, float, float]:
    """How often a promised floor does not hold: where the rows are the population, and calibration saw a bootstrap sample of as
    many; and where it saw one half of them, and the other half judges, whose own luck counts too. And the mean strong share.
    """
    rng = np.random.default_rng(seed)
    count = len(scores)
    broken = broken_half = shares = 0.0
    for _ in range(runs):
        sample = rng.integers(0, count, count)
        found = promise(steps(scores[sample], weak[sample], strong[sample]), FLOOR, count).step
        shares += float((scores >= found.threshold).mean()) if found.share < 1 else 1.0
        broken += found.share < 1 and _kept(scores, weak, strong, found.threshold) < FLOOR
        order = rng.permutation(count)
        seen, judged = order[: count // 2], order[count // 2 :]
        found = promise(steps(scores[seen], weak[seen], strong[seen]), FLOOR, len(seen)).step
        kept = _kept(scores[judged], weak[judged], strong[judged], found.threshold)
        broken_half += found.share < 1 and kept < FLOOR
    return broken / runs, broken_half / runs, shares / runs


def _kept(scores: Doubles, weak: Doubles, strong: Doubles, threshold: float) -> float:
    return float(np.where(scores >= threshold, strong, weak).mean() / strong.mean())
