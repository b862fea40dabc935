"""Names and what stands behind them."""

import pytest

from balancer.core.tiering.catalog import Catalog
from balancer.core.tiering.types import Fallback, StrongShare, Tier, Trouble, VirtualModel
from tests.core.tiering.given_tiers import AUTO, CATALOG, LARGE, POOL_A, POOL_B, SMALL


def test_aliases_lead_to_their_end():
    assert [CATALOG.resolved(name) for name in ("gpt-4", "gpt-4o", "auto", "other")] == [
        "auto",
        "auto",
        "auto",
        "other",
    ]
    assert CATALOG.names() == ["auto", "fast", "best", "gpt-4o", "gpt-4", "llama", "big"]


def test_pools_by_tier_and_by_model():
    assert CATALOG.pools("small") == CATALOG.pools("q8") == (SMALL,)
    assert CATALOG.pools("m") == (POOL_A, POOL_B)
    assert CATALOG.pools("auto") == CATALOG.pools("other") == ()


def test_the_virtual_model_of_a_model():
    assert CATALOG.virtual("auto") is AUTO
    assert CATALOG.virtual("m").tiers == CATALOG.members("m") == ("pool-a", "pool-b")
    other = CATALOG.virtual("other")
    assert (other.tiers, other.default, other.sticky) == (("other",), "other", False)
    assert CATALOG.tier("other") == Tier("other", "other")
    assert CATALOG.tier("large") is LARGE


@pytest.mark.parametrize("aliases", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "b"}])
def test_circles(aliases):
    with pytest.raises(ValueError, match="leads back"):
        Catalog(aliases=aliases)


@pytest.mark.parametrize(
    "virtual",
    [
        VirtualModel("v", ("small", "none"), StrongShare(0.3), "small"),
        VirtualModel("v", ("small",), StrongShare(0.3), "none"),
        VirtualModel(
            "v", ("small",), StrongShare(0.3), "small", fallbacks=(Fallback("none", frozenset(Trouble)),)
        ),
    ],
)
def test_a_tier_that_is_not_there(virtual):
    with pytest.raises(ValueError, match="names none, which is no tier"):
        Catalog([SMALL], [virtual])
