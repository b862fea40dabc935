"""Retries are a share of the traffic, whatever its shape."""

from hypothesis import given
from hypothesis import strategies as st

from balancer.core.fleet.budget import FLOOR, WINDOW_S, RetryBudget

gaps = st.lists(st.floats(0, 3), min_size=1, max_size=300)


@given(gaps, st.floats(0, 1))
def test_retries_stay_within_their_share(gaps, share):
    """Every request wants a retry: over any run there are no more than what the floor refills and the share allow."""
    budget = RetryBudget(share)
    now, retries = 0.0, 0
    for gap in gaps:
        now += gap
        budget.requested(now)
        retries += budget.take(now)
    assert retries <= share * len(gaps) * (1 + max(gaps) / WINDOW_S) + (FLOOR + 1) * (1 + now / WINDOW_S) + 1


def test_a_quiet_fleet_may_still_retry_and_a_storm_may_not_go_on():
    budget = RetryBudget(0.2)
    assert all(budget.take(0.0) for _ in range(int(FLOOR)))
    assert not budget.take(0.0)
    assert budget.take(3 * WINDOW_S)
    for _ in range(1_000):
        budget.requested(100.0)
    assert sum(budget.take(100.0) for _ in range(1_000)) == 200 + FLOOR


def test_a_share_of_nothing_leaves_the_floor():
    budget = RetryBudget(0.0)
    for _ in range(1_000):
        budget.requested(0.0)
    assert sum(budget.take(0.0) for _ in range(1_000)) == FLOOR
