"""Every arm at every place and behind every other arm equally often, and no drift that favours one."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compare.order import design, orders

ARMS = ("a", "b", "c", "d", "e", "f", "g")


@given(st.integers(1, 12))
def test_a_whole_design_balances_places_and_predecessors(count):
    rows = design(count)
    assert len(rows) == (1 if count == 1 else count if count % 2 == 0 else 2 * count)
    assert all(sorted(row) == list(range(count)) for row in rows)
    places = Counter((place, arm) for row in rows for place, arm in enumerate(row))
    assert len(set(places.values())) == 1
    follows = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
    assert len(follows) == count * (count - 1)
    assert len(set(follows.values())) <= 1


@given(st.integers(1, 7), st.integers(1, 12), st.integers())
def test_an_even_number_of_repeats_cancels_a_linear_drift(count, half, seed):
    rows = orders(ARMS[:count], 2 * half, seed)
    places = Counter()
    for row in rows:
        for place, arm in enumerate(row):
            places[arm] += place
    assert len(set(places.values())) == 1


@given(st.integers(1, 7), st.integers(0, 20), st.integers())
def test_every_repeat_has_all_arms_and_the_seed_decides_their_order(count, repeats, seed):
    rows = orders(ARMS[:count], repeats, seed)
    assert len(rows) == repeats
    assert all(sorted(row) == sorted(ARMS[:count]) for row in rows)
    assert rows == orders(ARMS[:count], repeats, seed)
    assert rows[: repeats // 2] == orders(ARMS[:count], repeats // 2, seed)


def test_two_arms_go_ab_ba_and_other_seeds_begin_with_the_other():
    firsts = set()
    for seed in range(20):
        first, second = orders(("a", "b"), 2, seed)
        assert first == second[::-1]
        firsts.add(first)
    assert firsts == {("a", "b"), ("b", "a")}


def test_no_arms_have_no_design():
    with pytest.raises(ValueError, match="count: expected at least 1"):
        design(0)
