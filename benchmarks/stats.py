"""Order statistics over measured values. Pure; an empty sample has no percentile, so it is None, never 0."""

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], q: float) -> float | None:
    """The nearest-rank percentile, `q` in (0, 100]: always a value that was measured."""
    if not 0 < q <= 100:
        raise ValueError(f"q: expected a number in (0, 100], got {q}")
    if not values:
        return None
    return sorted(values)[math.ceil(len(values) * q / 100) - 1]


def median(values: Sequence[float]) -> float | None:
    """The middle value, or the mean of the middle two."""
    if not values:
        return None
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
