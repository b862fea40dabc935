"""How long answers are: a running mean of output tokens per model and route, and over all for those not seen yet."""

from balancer.core.types import RequestView, RouteKind

FIRST_TOKENS = 256.0
SLOWEST = 0.02
"""The weight of the newest answer, when there have been many."""
MOST_KINDS = 256


class OutputLengths:
    def __init__(self) -> None:
        self._mean = FIRST_TOKENS
        self._seen = 4
        self._by_kind: dict[tuple[str | None, RouteKind], tuple[float, int]] = {}

    def expected(self, request: RequestView) -> float:
        found = self._by_kind.get((request.model, request.route))
        return self._mean if found is None else found[0]

    def saw(self, request: RequestView, tokens: int) -> None:
        self._seen += 1
        self._mean += max(SLOWEST, 1 / self._seen) * (tokens - self._mean)
        kind = request.model, request.route
        mean, seen = self._by_kind.get(kind, (self._mean, 4))
        if kind in self._by_kind or len(self._by_kind) < MOST_KINDS:
            seen += 1
            self._by_kind[kind] = mean + max(SLOWEST, 1 / seen) * (tokens - mean), seen
