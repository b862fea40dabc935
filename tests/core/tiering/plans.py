"""Tiers, plans and offers for tests."""

from balancer.core.scheduling import Quote
from balancer.core.tiering.exchange import Bid, Exchange
from balancer.core.tiering.share import Fixed
from balancer.core.tiering.types import Ask, Offer, Plan, Price, Score, StrongShare, Text, Tier, VirtualModel
from balancer.core.types import Decision, ReplicaId

SMALL = Tier("small", "small-model", price=Price(0.05, 0.2, 0.01))
LARGE = Tier("large", "large-model", price=Price(0.6, 1.2, 0.12))
HUGE = Tier("huge", "huge-model", price=Price(3.0, 12.0))
SHARE = StrongShare(0.3)
TIERS = {tier.name: tier for tier in (SMALL, LARGE, HUGE)}


def virtual(*tiers, target=SHARE, default="small", **rest):
    return VirtualModel("auto", tuple(t.name for t in tiers or (SMALL, LARGE)), target, default, **rest)


def text(last="Prove it.", turns=1, **rest):
    return Text(last, len(last.encode("utf-8", "surrogatepass")), turns=turns, **rest)


def plan(
    score=None, *, spread=0.0, of=None, options=(SMALL, LARGE), ask=None, turn=1, says="Prove it.", **rest
):
    """`score` may be a number, a Score, or None: not known."""
    if not isinstance(score, Score):
        score = Score(0.0, known=False) if score is None else Score(score, spread)
    return Plan(
        of or virtual(*options),
        ask or Ask("auto"),
        rest.pop("text", text(says, turn)),
        tuple(options),
        score=score,
        conversation=rest.pop("conversation", b"c"),
        draw=rest.pop("draw", 0.999),
        **rest,
    )


def bid(tier=SMALL, *, usd=0.0, cost_s=0.0, busy_s=0.1, wait=False, prefill_s=1e-4):
    decision = Decision(
        ReplicaId(f"{tier.name}-1"), "uncached", uncached_tokens=100, wait=wait, predicted_s=0.1
    )
    return Bid(Offer(tier, decision, 0.1, usd, 100, cost_s), Quote(decision, cost_s, 0.0, busy_s, prefill_s))


class Remembered:
    """Cuts at fixed thresholds, and what tiers cost more on average."""

    def __init__(self, *thresholds, mean=0.0, size=0.0):
        self._cuts = [Fixed(threshold) for threshold in thresholds or (0.7,)]
        self._exchange = Exchange()
        self._exchange.mean, self._exchange.size = mean, size

    def cut(self, rank):
        return self._cuts[rank - 1]

    def exchange(self, rank):
        return self._exchange
