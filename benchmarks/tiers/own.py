"""Learning from one's own labels, as `balancer tier train` does with its default router, and the prior as a column."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.score.ridge import Doubles
from balancer.learning.metrics import curve
from balancer.learning.prompts import Prompts
from balancer.learning.routers import ROUTERS
from benchmarks.tiers.data import Data
from benchmarks.tiers.fitting import Index

FOLDS: Final = 5
REPEATS: Final = 5
DEFAULT: Final = "boosted"


def by_prompt(count: int, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(count) % FOLDS


def by_task(tasks: NDArray[np.str_], seed: int = 0) -> NDArray[np.int64]:
    """Folds of whole tasks."""
    names = np.unique(tasks)
    fold = dict(zip(names, np.random.default_rng(seed).permutation(len(names)) % FOLDS, strict=True))
    return np.array([fold[task] for task in tasks])


def out_of_fold(data: Data, seen: Prompts, here: Index, folds: NDArray[np.int64]) -> Doubles:
    """The gain to expect of each row, by a router that was trained on the other folds and on no question of this one: less their
    mean gain, as `learning.evaluate` has it.
    """
    scores = np.empty(len(here))
    for fold in np.unique(folds):
        test = np.flatnonzero(folds == fold)
        train = np.flatnonzero((folds != fold) & ~np.isin(data.keys[here], data.keys[here[test]]))
        gain = data.strong[here[train]] - data.weak[here[train]]
        scores[test] = _gains(data, seen, here, train, test) - gain.mean()
    return scores


def curve_of_labels(data: Data, seen: Prompts, here: Index, counts: Sequence[int]) -> dict[int, list[float]]:
    """APGR on all the rest, by the number of rows that were labelled, once for each repeat."""
    found: dict[int, list[float]] = {count: [] for count in counts}
    for repeat in range(REPEATS):
        order = np.random.default_rng(10 + repeat).permutation(len(here))
        for count in counts:
            train, test = order[:count], order[count:]
            test = test[~np.isin(data.keys[here[test]], data.keys[here[train]])]
            gains = _gains(data, seen, here, train, test)
            found[count].append(curve(gains, data.weak[here[test]], data.strong[here[test]]).apgr)
    return found


def _gains(data: Data, seen: Prompts, here: Index, train: Index, test: Index) -> Doubles:
    quality = np.stack((data.weak[here[train]], data.strong[here[train]]), axis=1)
    return ROUTERS[DEFAULT].fit(seen.take(train), quality).gains(seen.take(test))
