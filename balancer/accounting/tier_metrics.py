"""Which tiers were asked, which were left and why, and which answers were mended.

Labels are bounded by the configuration: `virtual_model` is one of its names, or empty where a request named models of its own.
"""

from collections import Counter
from collections.abc import Iterator

from balancer.accounting.exposition import Samples, counter
from balancer.core.tiering.types import Trouble

_REQUESTS = counter(
    "balancer_tier_requests",
    "Requests for which a tier was chosen, by the tier that was asked last and why: asked, rule, score, band, sticky, "
    "escalated, default, explore, shadow, canary, fallback.",
    "virtual_model",
    "tier",
    "reason",
)
_LEFT = counter(
    "balancer_tier_fallbacks",
    "How often a tier was left for another, or for an error, by trouble: saturated, failing, context, limited, timeout.",
    "tier",
    "reason",
)
_HEALED = counter(
    "balancer_healed",
    "Texts that should have been JSON and were not, by what became of them: healed, failed.",
    "outcome",
)


class TierSeries:
    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._left: Counter[tuple[str, str]] = Counter()
        self._healed: Counter[str] = Counter()

    def ended(self, virtual: str, tier: str, reason: str) -> None:
        """Count a request that a tier was chosen for, by the tier that was asked last."""
        self._requests[virtual, tier, reason] += 1

    def left(self, tier: str, trouble: str) -> None:
        self._left[tier, trouble] += 1

    def healed(self, healed: int, failed: int) -> None:
        self._healed["healed"] += healed
        self._healed["failed"] += failed

    def totals(self, tier: str) -> tuple[int, int]:
        """Requests that the tier was asked last for, and how often it was left."""
        return (
            sum(count for (_, name, _), count in self._requests.items() if name == tier),
            sum(count for (name, _), count in self._left.items() if name == tier),
        )

    def collect(self) -> Iterator[Samples]:
        yield _REQUESTS, list(self._requests.items())
        none = {(tier, trouble): 0 for _, tier, _ in self._requests for trouble in Trouble}
        yield _LEFT, list((none | self._left).items())
        yield _HEALED, [((outcome,), self._healed[outcome]) for outcome in ("healed", "failed")]
