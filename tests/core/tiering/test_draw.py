"""Draws are uniform, stay with the conversation, and happen as often as their propensity says."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.tiering.draw import arm, draw, explore

CONVERSATIONS = [number.to_bytes(16, "big") for number in range(100_000)]
ONE = b"\x01" * 16


def test_draws_are_uniform():
    counts = Counter(int(draw(each, "auto/explore") * 20) for each in CONVERSATIONS)
    assert sorted(counts) == list(range(20))
    expected = len(CONVERSATIONS) / 20
    assert (
        sum((count - expected) ** 2 / expected for count in counts.values()) < 43.8
    )  # chi-square, 19, 99.9 %


def test_a_conversation_draws_the_same_again_and_another_for_another_use():
    assert draw(ONE, "auto/explore") == draw(ONE, "auto/explore")
    assert draw(ONE, "auto/explore") != draw(ONE, "auto/arm")


def test_uses_are_independent():
    explored = [each for each in CONVERSATIONS if draw(each, "auto/explore") < 0.05]
    in_a = sum(draw(each, "auto/arm") < 0.5 for each in explored)
    assert len(explored) == pytest.approx(5000, abs=4 * 69)
    assert in_a == pytest.approx(len(explored) / 2, abs=4 * 36)


@pytest.mark.parametrize(("share", "count"), [(0.02, 2), (0.05, 2), (0.05, 3), (0.3, 4), (1.0, 2)])
def test_a_tier_is_taken_as_often_as_its_propensity_says(share, count):
    told: dict[int, float] = {}
    taken: Counter[int] = Counter()
    for each in CONVERSATIONS:
        drawn = explore(draw(each, "auto/explore"), share, 1, count)
        told[drawn.option] = drawn.propensity
        taken[drawn.option] += 1
    assert sorted(taken) == list(range(count))
    assert sum(told.values()) == pytest.approx(1)
    n = len(CONVERSATIONS)
    for option, p in told.items():
        assert taken[option] / n == pytest.approx(p, abs=4 * (p * (1 - p) / n) ** 0.5 + 1e-12)


def test_whoever_does_not_explore_always_takes_the_preferred():
    assert {explore(draw(each, "x"), 0.0, 2, 3) for each in CONVERSATIONS[:1000]} == {(2, 1.0, False)}


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1), st.integers(1, 9), st.data())
def test_whatever_is_drawn_is_there(drawn, share, count, data):
    preferred = data.draw(st.integers(0, count - 1))
    option, propensity, explored = explore(drawn, share, preferred, count)
    assert 0 <= option < count
    assert 0 <= propensity <= 1 + 1e-12
    assert explored or option == preferred


def test_arms_get_their_shares_and_leave_the_rest_alone():
    shares = [("a", 0.2), ("b", 0.1)]
    found = Counter(arm(draw(each, "auto/try"), shares) for each in CONVERSATIONS)
    for (name, share), count in found.items():
        assert count / len(CONVERSATIONS) == pytest.approx(share, abs=0.006)
        assert share == pytest.approx({"a": 0.2, "b": 0.1, "": 0.7}[name])
