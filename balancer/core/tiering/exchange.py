"""What tiers cost, in one currency, and how much score that is worth. No weight is set by anybody.

    cost_k = usd_k + usd_per_s * seconds_k                                                                   [USD]

    usd_k      the prompt's uncached and cached tokens and the expected answer at the tier's prices; where it has none, the
               seconds for which it takes up a replica, at replica_usd_per_hour
    seconds_k  what the policy says that the request costs there: waiting, its own prefill, and what others wait for it
    usd_per_s  what a second of the dearest own replica costs that could serve it: replica_usd_per_hour / 3600, else what it
               earns in one by prefilling, price.input / 10^6 / seconds a prompt token. A second that a client waits is a
               second that such a replica was short of.

Where a tier tells neither price, none is used, and all costs are counted in seconds of replicas.

    worth    = threshold / mean(cost_up - cost_down)                                                     [score / USD]

Who cuts at a threshold says that a request of this score is worth what the stronger tier costs more, on average. Gains grow in
proportion to the score, so a request goes up if   score / threshold >= (cost_up - cost_down) / its mean.
"""

from typing import NamedTuple

from balancer.core.scheduling import Quote
from balancer.core.tiering.types import Offer, Price, Tier
from balancer.core.types import RequestView

MEMORY = 200
"""Requests over which costs are averaged."""
HOUR_S = 3600.0


class Bid(NamedTuple):
    """An offer, and what it was made from."""

    offer: Offer
    quote: Quote


def tokens_usd(price: Price, uncached: float, cached: float, output: float) -> float:
    """Of so many tokens."""
    cached_price = price.input if price.cached_input is None else price.cached_input
    return (uncached * price.input + cached * cached_price + output * price.output) / 1e6


def usd(tier: Tier, request: RequestView, quote: Quote, output_tokens: float) -> float | None:
    """What the request costs there; None: nobody told a price."""
    if tier.price is not None:
        cached = min(quote.decision.matched_tokens, request.prompt_tokens)
        return tokens_usd(tier.price, request.prompt_tokens - cached, cached, output_tokens)
    if tier.replica_usd_per_hour is not None:
        return quote.busy_s * tier.replica_usd_per_hour / HOUR_S
    return None


def usd_per_s(tier: Tier, prefill_s: float) -> float | None:
    """What a second of one of its replicas costs; `prefill_s` is what a prompt token takes there."""
    if tier.replica_usd_per_hour is not None:
        return tier.replica_usd_per_hour / HOUR_S
    if tier.price is not None and prefill_s > 0:
        return tier.price.input / 1e6 / prefill_s
    return None


def costs(bids: list[Bid]) -> list[float]:
    """Of each, in USD, or in seconds of replicas where a price is missing."""
    money = [bid.offer.usd for bid in bids if bid.offer.usd is not None]
    rates = _rates(bids, own=True) or _rates(bids, own=False)
    if len(money) == len(bids) and rates:
        return [each + max(rates) * bid.quote.cost_s for each, bid in zip(money, bids, strict=True)]
    return [bid.quote.busy_s + bid.quote.cost_s for bid in bids]


def _rates(bids: list[Bid], *, own: bool) -> list[float]:
    found = []
    for bid in bids:
        if not (own and bid.offer.tier.external):
            rate = usd_per_s(bid.offer.tier, bid.quote.prefill_s)
            if rate is not None:
                found.append(rate)
    return found


class Exchange:
    """What the stronger tier of one step costs more: the running mean, and that of its size."""

    __slots__ = ("_seen", "mean", "size")

    def __init__(self) -> None:
        self._seen = 0
        self.mean = 0.0
        self.size = 0.0

    def __repr__(self) -> str:
        return f"<Exchange: {self.mean:+.2g} more, of {self._seen} requests>"

    def add(self, more: float) -> None:
        self._seen += 1
        weight = max(1 / self._seen, 1 / MEMORY)
        self.mean += weight * (more - self.mean)
        self.size += weight * (abs(more) - self.size)

    def shift(self, more: float, threshold: float, most: float) -> float:
        """How much of a score it is worth that this request costs less on the stronger tier than usual; `most` either way."""
        if not self.size:
            return 0.0
        return max(-most, min(most, threshold * (self.mean - more) / self.size))
