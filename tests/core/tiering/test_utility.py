import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.tiering.utility import (
    best,
    chosen,
    mean_quality,
    mean_usd,
    worth_for_budget,
    worth_for_floor,
    worth_for_share,
)

USD = np.array([0.001, 0.004, 0.02])
QUALITIES = np.clip(np.random.default_rng(0).random((500, 1)) + np.array([0.0, 0.1, 0.2]), 0, 1)
QUALITIES[:, 1] += np.random.default_rng(1).normal(0, 0.1, 500)
SAID = (("small", 0.5), ("middle", 0.6), ("large", 0.9))
PRICES = {"small": 0.001, "middle": 0.004, "large": 0.02}


@pytest.mark.parametrize(
    ("worth", "model"), [(0.001, "small"), (0.045, "middle"), (0.06, "large"), (10.0, "large")]
)
def test_what_a_right_answer_is_worth_decides(worth, model):
    assert best(SAID, PRICES, worth) == model


def test_equals_go_to_the_cheapest_and_the_unpriced_to_nobody():
    assert best((("large", 0.5), ("small", 0.5)), PRICES, 1e9) == "small"
    assert best((("other", 1.0), ("small", 0.1)), PRICES, 1.0) == "small"
    assert best((("other", 1.0),), PRICES, 1.0) is None
    assert best((), PRICES, 1.0) is None


@given(st.floats(1e-6, 100))
def test_many_at_once_are_chosen_as_one_by_one(worth):
    names = ("small", "middle", "large")
    one_by_one = [
        names.index(best(tuple(zip(names, row, strict=True)), PRICES, worth)) for row in QUALITIES[:30]
    ]
    assert chosen(QUALITIES[:30], USD, worth).tolist() == one_by_one


@given(st.floats(1e-5, 1), st.floats(1.01, 10))
def test_the_more_an_answer_is_worth_the_more_is_spent_and_won(worth, factor):
    assert mean_usd(QUALITIES, USD, worth) <= mean_usd(QUALITIES, USD, worth * factor) + 1e-12
    assert mean_quality(QUALITIES, USD, worth) <= mean_quality(QUALITIES, USD, worth * factor) + 1e-12


@pytest.mark.parametrize("budget", [0.0015, 0.004, 0.01])
def test_a_budget_is_kept_and_used(budget):
    spent = mean_usd(QUALITIES, USD, worth_for_budget(QUALITIES, USD, budget))
    assert budget * 0.75 < spent <= budget


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_a_share_is_kept(share):
    picked = chosen(QUALITIES, USD, worth_for_share(QUALITIES, USD, share))
    assert share - 0.02 <= (picked != 0).mean() <= share


@pytest.mark.parametrize("floor", [0.8, 0.9, 0.99])
def test_a_floor_is_kept_at_no_more_than_it_costs(floor):
    worth = worth_for_floor(QUALITIES, USD, floor)
    goal = floor * QUALITIES.mean(axis=0).max()
    assert mean_quality(QUALITIES, USD, worth) >= goal - 1e-9
    assert mean_usd(QUALITIES, USD, worth) < USD[-1] * 0.9 or floor == 0.99


def test_what_cannot_be_had():
    assert mean_usd(QUALITIES, USD, worth_for_budget(QUALITIES, USD, 0.0)) == pytest.approx(0.001)
    assert (chosen(QUALITIES, USD, worth_for_budget(QUALITIES, USD, 1.0)) == 2).mean() > 0.5


def test_prices_may_differ_by_request():
    usd = np.tile(USD, (500, 1))
    assert (chosen(QUALITIES, usd, 0.05) == chosen(QUALITIES, USD, 0.05)).all()
