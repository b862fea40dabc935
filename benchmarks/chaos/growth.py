"""Whether something grows with the number of requests: least squares over samples after a warm-up. Pure.

A slope over few requests says little: the allocator's noise of a megabyte or two is a slope of ten megabytes over ten
thousand requests. So a short run is judged by how much it grew, and only a long one by its slope.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.stats import median

PER_REQUESTS = 100_000
ENOUGH_REQUESTS = 50_000
_MB = 1e6


@dataclass(frozen=True, slots=True)
class Sample:
    """What was there when so many requests had ended. None: it does not tell."""

    at_s: float
    requests: int
    rss_bytes: int
    fds: int
    tasks: float | None = None


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Of the least-squares line; None where no line is."""
    count = len(points)
    if count < 3:
        return None
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return None if spread == 0 else sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def growth(samples: Sequence[Sample], warm_up_s: float) -> dict[str, float]:
    """Figures of what came after the warm-up; those that can't be told are left out."""
    kept = [sample for sample in samples if sample.at_s >= warm_up_s]
    found: dict[str, float] = {}
    per_request = slope([(sample.requests, sample.rss_bytes) for sample in kept])
    if per_request is None:
        return found
    requests = kept[-1].requests - kept[0].requests
    found["requests_after_warm_up"] = requests
    found["rss_mb"] = kept[-1].rss_bytes / _MB
    found["rss_growth_mb"] = per_request * requests / _MB
    if requests >= ENOUGH_REQUESTS:
        found["rss_mb_per_100k"] = per_request * PER_REQUESTS / _MB
    for name, of in (("fds", lambda each: each.fds), ("tasks", lambda each: each.tasks)):
        if (more := _more(kept, of)) is not None:
            found[f"{name}_growth"] = more
    return found


def _more(samples: Sequence[Sample], of: Callable[[Sample], float | None]) -> float | None:
    """The median of the last quarter less that of the first."""
    values = [value for sample in samples if (value := of(sample)) is not None]
    quarter = len(values) // 4
    first, last = median(values[:quarter]), median(values[len(values) - quarter :])
    return None if first is None or last is None or not quarter else last - first
