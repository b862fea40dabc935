"""What tokens cost: by a price list, or by what replicas cost and were seen to do."""

from random import Random

import pytest

from balancer.core.tiering.prices import CACHED, LEAST_WEIGHT, OUTPUT, Prices
from balancer.core.tiering.types import Price, Tier
from balancer.core.types import Usage

LISTED = Tier("listed", "m", price=Price(2, 8, 0.5))
OWN = Tier("own", "m", replica_usd_per_hour=3.6)


def test_a_price_list_holds():
    prices = Prices()
    assert prices.usd(LISTED, Usage(1_000_000, 500_000, 400_000)) == pytest.approx(
        0.6 * 2 + 0.4 * 0.5 + 0.5 * 8
    )
    assert prices.usd(Tier("x", "m", price=Price(2, 8)), Usage(100, 0, 40)) == pytest.approx(200e-6)
    assert prices.usd(Tier("free", "m"), Usage(1, 1)) is None


def test_own_replicas_cost_what_their_busy_seconds_cost():
    prices = Prices()
    assert prices.of(OWN) is None
    for _ in range(100):
        prices.busy(OWN, 1.0)
        prices.did(OWN, Usage(1000, 500))
    # 0.001 USD a second for 1000 + 4 * 500 tokens' worth
    price = prices.of(OWN)
    assert price.input == pytest.approx(0.001 / 3000 * 1e6, rel=0.02)
    assert (price.output, price.cached_input) == (OUTPUT * price.input, CACHED * price.input)
    assert prices.usd(OWN, Usage(1000, 500)) == pytest.approx(0.001, rel=0.02)
    assert prices.usd(OWN, Usage(1000, 500, 1000)) == pytest.approx(0.001 * 2100 / 3000, rel=0.02)


def test_all_answers_together_cost_what_all_busy_seconds_do():
    prices, told, rng = Prices(), 0.0, Random(7)
    for _ in range(5000):
        usage = Usage(rng.randrange(100, 1000), rng.randrange(300))
        prices.busy(OWN, 1.0)
        prices.did(OWN, usage)
        told += prices.usd(OWN, usage) or 0.0
    assert told == pytest.approx(5000 * 0.001, rel=0.03)


def test_a_faster_engine_makes_tokens_cheaper_within_minutes():
    prices = Prices()
    for _ in range(2000):
        prices.busy(OWN, 1.0)
        prices.did(OWN, Usage(1000, 0))
    slow = prices.of(OWN).input
    for _ in range(2000):
        prices.busy(OWN, 1.0)
        prices.did(OWN, Usage(4000, 0))
    assert prices.of(OWN).input == pytest.approx(slow / 4, rel=0.15)


def test_little_tells_nothing():
    prices = Prices()
    prices.did(OWN, Usage(int(LEAST_WEIGHT) + 1, 0))
    assert prices.of(OWN) is None  # nobody was seen busy
    prices = Prices()
    prices.busy(OWN, 1.0)
    prices.did(OWN, Usage(10, 10))
    assert prices.of(OWN) is None
    prices.did(LISTED, Usage(10, 10))
    assert prices.of(LISTED) == LISTED.price
