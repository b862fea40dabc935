"""A catalogue to ask, and what is asked of it."""

from balancer.core.tiering.budget import Budget
from balancer.core.tiering.catalog import Catalog
from balancer.core.tiering.planner import Planner
from balancer.core.tiering.rules import Rules
from balancer.core.tiering.types import (
    Abilities,
    Ask,
    Classifier,
    Fallback,
    Price,
    Score,
    StrongShare,
    Text,
    Tier,
    Trouble,
    VirtualModel,
)

ANY = frozenset(Trouble)
SMALL = Tier("small", "q8", price=Price(0.05, 0.2), abilities=Abilities(images=False, context_tokens=8_000))
LARGE = Tier("large", "l70", price=Price(1.0, 3.0), abilities=Abilities(images=False, context_tokens=32_000))
HOSTED = Tier("hosted", "gpt", price=Price(2.0, 8.0), abilities=Abilities(images=True), external=True)
POOL_A = Tier("pool-a", "m", price=Price(0.3, 0.3))
POOL_B = Tier("pool-b", "m", price=Price(0.1, 0.1))
AUTO = VirtualModel(
    "auto", ("small", "large"), StrongShare(0.3), "large", fallbacks=(Fallback("hosted", ANY),)
)
FAST = VirtualModel("fast", ("small",), StrongShare(0.3), "small")
BEST = VirtualModel("best", ("large", "hosted"), StrongShare(0.5), "hosted", classifier="length")
TIERS = (SMALL, LARGE, HOSTED, POOL_A, POOL_B)
CATALOG = Catalog(
    TIERS, (AUTO, FAST, BEST), {"gpt-4o": "auto", "gpt-4": "gpt-4o", "llama": "l70", "big": "large"}
)


class Fixed(Classifier):
    """Says the same of everything, and counts how often it was asked."""

    name = "fixed"

    def __init__(self, value=0.5, *, known=True, spread=0.1):
        self.value, self.known, self.spread, self.asked = value, known, spread, 0

    def score(self, text):
        self.asked += 1
        return Score(self.value, self.spread, self.known)


def planner(catalog=CATALOG, rules=None, policies=None, classifier=None, **more):
    found = classifier or Fixed()
    return Planner(catalog, rules or Rules(), {"prior": found, "length": found}, Budget(policies), **more)


def plan(asked="auto", text=None, *, of=None, contexts=None, tokens=100, **more):
    ask = asked if isinstance(asked, Ask) else Ask(asked)
    said = {"prompt_tokens": tokens, "contexts": contexts or {}, "wall_s": 0.0, "conversation": b"c"} | more
    return (of or planner()).plan(ask, text or Text("hi", 2), **said)


def names(tiers):
    return [tier.name for tier in tiers]


def chain(made):
    assert names(made.reserve) == [each.to for each in made.chain]
    return names(made.reserve)
