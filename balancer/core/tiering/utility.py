"""Which of several models, by what each is expected to be worth and to cost.

    choose m with the highest   quality_m - usd_m / worth

`worth` is what a point of quality (a right answer instead of a wrong one) is worth in USD: the one exchange rate. It is not
asked of the user but follows from a target on known requests: a budget, a quality floor, or a share for all but the cheapest.
As `worth` grows, money counts less; all three targets are monotone in it, so it is found by halving (Lagrange's multiplier of
the constrained problem: Everett 1963).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
LEAST_WORTH: Final = 1e-9
MOST_WORTH: Final = 1e3
_HALVINGS: Final = 60


def best(qualities: Sequence[tuple[str, float]], usd: Mapping[str, float], worth: float) -> str | None:
    """The model of the highest utility among those whose cost is known; of equals the cheapest. None if there is none."""
    known = [(model, quality, usd[model]) for model, quality in qualities if model in usd]
    if not known:
        return None
    return max(known, key=lambda each: (each[1] - each[2] / worth, -each[2]))[0]


def chosen(qualities: Floats, usd: Floats, worth: float) -> NDArray[np.intp]:
    """For many requests: `qualities` (n, m), `usd` (m,) or (n, m). Which model each gets, (n,)."""
    order = np.argsort(
        usd.mean(axis=0) if usd.ndim == 2 else usd, kind="stable"
    )  # of equals the cheapest is first
    utility = qualities - usd / worth
    picked: NDArray[np.intp] = order[np.argmax(utility[:, order], axis=1)]
    return picked


def worth_for_budget(qualities: Floats, usd: Floats, budget_usd: float) -> float:
    """The highest worth at which the mean cost of a request is within the budget; LEAST_WORTH where none is."""
    return _highest(lambda worth: mean_usd(qualities, usd, worth) <= budget_usd)


def worth_for_share(qualities: Floats, usd: Floats, share: float) -> float:
    """The highest worth at which at most this share of the requests leaves the cheapest model."""
    cheapest = int(np.argmin(usd.mean(axis=0) if usd.ndim == 2 else usd))
    return _highest(lambda worth: float((chosen(qualities, usd, worth) != cheapest).mean()) <= share)


def worth_for_floor(qualities: Floats, usd: Floats, floor: float) -> float:
    """The lowest worth at which this part of the expected quality of the best single model is kept."""
    goal = floor * float(qualities.mean(axis=0).max())
    below = _highest(lambda worth: mean_quality(qualities, usd, worth) < goal)
    return min(MOST_WORTH, below * (1 + 1e-9)) if below > LEAST_WORTH else LEAST_WORTH


def mean_usd(qualities: Floats, usd: Floats, worth: float) -> float:
    picked = chosen(qualities, usd, worth)
    costs = np.broadcast_to(usd, qualities.shape)
    return float(costs[np.arange(len(picked)), picked].mean())


def mean_quality(qualities: Floats, usd: Floats, worth: float) -> float:
    picked = chosen(qualities, usd, worth)
    return float(qualities[np.arange(len(picked)), picked].mean())


def _highest(holds: Callable[[float], bool]) -> float:
    """The highest worth for which `holds`, which is true below some worth and false above."""
    low, high = np.log(LEAST_WORTH), np.log(MOST_WORTH)
    if holds(MOST_WORTH):
        return MOST_WORTH
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(float(np.exp(middle))) else (low, middle)
    return float(np.exp(low))
