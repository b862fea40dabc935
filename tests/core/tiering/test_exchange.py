"""What tiers cost, and how much score that is worth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.scheduling import Quote
from balancer.core.tiering.exchange import Exchange, costs, tokens_usd, usd, usd_per_s
from balancer.core.tiering.types import Price, Tier
from balancer.core.types import Decision, ReplicaId, RequestView, RouteKind
from tests.core.tiering.plans import LARGE, SMALL, bid

OWN = Tier("own", "m", replica_usd_per_hour=3.6)
UNPRICED = Tier("free", "m")


def quote(matched=0, busy_s=0.5):
    return Quote(Decision(ReplicaId("a"), "cached", matched), 1.0, 0.0, busy_s, 1e-4)


def test_tokens_cost_what_the_price_says():
    assert tokens_usd(Price(2.0, 8.0, 0.5), 1e6, 2e6, 1e5) == pytest.approx(2.0 + 1.0 + 0.8)
    assert tokens_usd(Price(2.0, 8.0), 1e6, 2e6, 0) == pytest.approx(6.0)


def test_a_request_costs_its_uncached_and_cached_tokens_and_the_expected_answer():
    request = RequestView(RouteKind.CHAT, prompt_tokens=1000)
    expected = (400 * 0.6 + 600 * 0.12 + 200 * 1.2) / 1e6
    assert usd(LARGE, request, quote(matched=600), 200) == pytest.approx(expected)


def test_an_own_replica_costs_the_time_that_it_is_taken_up():
    request = RequestView(RouteKind.CHAT, prompt_tokens=1000)
    assert usd(OWN, request, quote(busy_s=0.5), 200) == pytest.approx(0.0005)
    assert usd(UNPRICED, request, quote(), 200) is None


def test_a_second_is_worth_what_a_replica_costs_in_it_else_what_it_earns():
    assert usd_per_s(OWN, 1e-4) == pytest.approx(0.001)
    assert usd_per_s(LARGE, 80e-6) == pytest.approx(0.6e-6 / 80e-6)
    assert usd_per_s(UNPRICED, 1e-4) is None


def test_waiting_is_paid_at_the_rate_of_the_dearest_own_replica():
    small, large = costs([bid(SMALL, usd=0.001, cost_s=2.0), bid(LARGE, usd=0.004, cost_s=1.0)])
    rate = 0.6e-6 / 1e-4
    assert (small, large) == pytest.approx((0.001 + 2 * rate, 0.004 + rate))


def test_a_provider_lends_its_rate_only_where_no_replica_is_our_own():
    hosted = Tier("hosted", "m", price=Price(10.0, 30.0), external=True)
    own, provided = costs([bid(OWN, usd=0.0, cost_s=1.0), bid(hosted, usd=0.0, cost_s=1.0)])
    assert own == provided == pytest.approx(0.001)
    assert costs([bid(hosted, usd=0.0, cost_s=1.0)]) == pytest.approx([10e-6 / 1e-4])


def test_where_a_price_is_missing_seconds_of_replicas_are_the_currency():
    found = costs(
        [bid(UNPRICED, usd=None, cost_s=1.0, busy_s=0.2), bid(LARGE, usd=5.0, cost_s=0.5, busy_s=0.4)]
    )
    assert found == pytest.approx([1.2, 0.9])


def test_a_request_that_costs_as_much_as_usual_is_not_shifted():
    exchange = Exchange()
    assert exchange.shift(1.0, 0.7, 0.2) == 0.0
    for _ in range(10):
        exchange.add(2.0)
    assert exchange.shift(2.0, 0.7, 0.2) == 0.0
    assert exchange.shift(1.8, 0.7, 0.2) == pytest.approx(0.07)


def test_twice_the_usual_cost_needs_twice_the_score():
    exchange = Exchange()
    exchange.add(0.001)
    assert 0.8 + exchange.shift(0.002, 0.4, 1.0) == pytest.approx(0.4)


def test_what_is_usual_is_of_late():
    exchange = Exchange()
    for more in [1.0] * 500 + [3.0] * 2000:
        exchange.add(more)
    assert exchange.mean == pytest.approx(3.0, abs=0.01)


@given(
    seen=st.lists(st.floats(-10, 10), max_size=20),
    more=st.floats(-1e6, 1e6),
    threshold=st.floats(0, 1),
    most=st.floats(0, 1),
)
def test_the_shift_never_leaves_the_band(seen, more, threshold, most):
    exchange = Exchange()
    for each in seen:
        exchange.add(each)
    assert abs(exchange.shift(more, threshold, most)) <= most
