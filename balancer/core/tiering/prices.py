"""What a tier's tokens cost: by its price list, or for replicas of one's own by what they cost and what they were seen to do.

    usd per weight = replica_usd_per_hour / 3600 * busy seconds / weight,     over the last MEMORY_S busy seconds or so
    weight         = uncached + CACHED * cached + OUTPUT * output tokens

Busy is a replica with a request of ours: what stands idle costs as well, but is nobody's answer. The weights split a second
between kinds of tokens as the price lists of hosted open models do (an output token for four of the prompt, a cached one for a
tenth); what a second costs as a whole is measured.
"""

from balancer.core.tiering.exchange import HOUR_S, tokens_usd
from balancer.core.tiering.types import Price, Tier
from balancer.core.types import Usage

OUTPUT = 4.0
CACHED = 0.1
MEMORY_S = 600.0
LEAST_WEIGHT = 1000.0
"""So much must have been done before it tells anything."""


class Throughput:
    """Of a tier's replicas, together."""

    __slots__ = ("_busy_s", "_weight")

    def __init__(self) -> None:
        self._busy_s = 0.0
        self._weight = 0.0

    def busy(self, seconds: float) -> None:
        """So many seconds of replicas passed with something to do."""
        kept = MEMORY_S / (MEMORY_S + seconds)
        self._weight *= kept
        self._busy_s = self._busy_s * kept + seconds

    def did(self, usage: Usage) -> None:
        cached = usage.cached_tokens or 0
        self._weight += usage.prompt_tokens - cached + CACHED * cached + OUTPUT * usage.output_tokens

    def price(self, usd_per_hour: float) -> Price | None:
        """None, while too little was seen."""
        if self._weight < LEAST_WEIGHT or not self._busy_s:
            return None
        usd = usd_per_hour / HOUR_S * self._busy_s / self._weight * 1e6
        return Price(usd, OUTPUT * usd, CACHED * usd)


class Prices:
    def __init__(self) -> None:
        self._seen: dict[str, Throughput] = {}

    def of(self, tier: Tier) -> Price | None:
        """None, where nobody told a price and none can be known yet."""
        if tier.price is not None or tier.replica_usd_per_hour is None:
            return tier.price
        seen = self._seen.get(tier.name)
        return None if seen is None else seen.price(tier.replica_usd_per_hour)

    def usd(self, tier: Tier, usage: Usage) -> float | None:
        """What such an answer costs there."""
        price = self.of(tier)
        if price is None:
            return None
        cached = usage.cached_tokens or 0
        return tokens_usd(price, usage.prompt_tokens - cached, cached, usage.output_tokens)

    def busy(self, tier: Tier, seconds: float) -> None:
        self._throughput(tier).busy(seconds)

    def did(self, tier: Tier, usage: Usage) -> None:
        if tier.replica_usd_per_hour is not None:
            self._throughput(tier).did(usage)

    def _throughput(self, tier: Tier) -> Throughput:
        return self._seen.setdefault(tier.name, Throughput())
