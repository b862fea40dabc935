"""Histograms as plain numbers: a bisection and two additions for each value.

Edges of latencies are vLLM's own (vllm/v1/metrics/loggers.py, the same from 0.8.5 to 0.33), so that panels line up. vLLM has
none below a millisecond; what the balancer itself takes needs them.
"""

from bisect import bisect_left
from itertools import accumulate

TTFT_EDGES = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)  # fmt: skip
GAP_EDGES = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
DURATION_EDGES = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
PHASE_EDGES = (
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
TOKEN_EDGES = (
    1.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 50000.0, 100000.0,
)  # fmt: skip
"""vLLM's token counts go in steps of 1, 2, 5, too."""


class Histogram:
    """Counts by bucket; `edges` are upper bounds, inclusive, as Prometheus has them."""

    __slots__ = ("_counts", "_edges", "sum")

    def __init__(self, edges: tuple[float, ...]) -> None:
        self._edges = edges
        self._counts = [0] * (len(edges) + 1)
        self.sum = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """A value that was seen so many times."""
        self._counts[bisect_left(self._edges, value)] += count
        self.sum += value * count

    def __bool__(self) -> bool:
        """Whether any value was seen."""
        return any(self._counts)

    @property
    def edges(self) -> tuple[float, ...]:
        return self._edges

    def cumulative(self) -> list[int]:
        """For each edge how many values were at most that, and how many there were in all."""
        return list(accumulate(self._counts))
