"""What a provider lets one take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.fleet.quota import MOST_PAUSE_S, PAUSE_S, Quota

NOW = 1000.0


def test_nothing_is_limited_of_which_no_limit_is_known():
    quota = Quota()
    for _ in range(100):
        quota.take(1e6, NOW)
    assert quota.wait_s(NOW) == 0


def test_requests_of_a_minute_may_come_at_once_and_then_evenly():
    quota = Quota(requests_per_minute=6)
    for _ in range(6):
        assert quota.wait_s(NOW) == 0
        quota.take(0, NOW)
    assert quota.wait_s(NOW) == pytest.approx(10)
    assert quota.wait_s(NOW + 9) == pytest.approx(1)
    assert quota.wait_s(NOW + 10) == 0


def test_tokens_are_put_right_by_what_was_used():
    quota = Quota(tokens_per_minute=600)
    quota.take(100, NOW)
    quota.settle(100, 800, NOW)  # 200 beyond what was there
    assert quota.wait_s(NOW) == pytest.approx(20.1)
    quota.settle(700, 0, NOW)
    assert quota.wait_s(NOW) == 0


def test_a_prompt_larger_than_a_minutes_tokens_goes_when_the_bucket_is_not_empty():
    quota = Quota(tokens_per_minute=10)
    assert quota.wait_s(NOW) == 0
    quota.take(10_000, NOW)
    assert quota.wait_s(NOW) > 3600


def test_a_pause_is_what_was_asked_for_and_else_grows():
    quota = Quota()
    quota.pause(NOW, 20)
    assert quota.wait_s(NOW + 5) == pytest.approx(15)
    quota = Quota()
    waits = []
    for _ in range(9):
        quota.pause(NOW, None)
        waits.append(quota.wait_s(NOW))
    assert waits == [min(MOST_PAUSE_S, PAUSE_S * 2**n) for n in range(9)]
    quota.answered()
    quota.pause(NOW + 100, None)
    assert quota.wait_s(NOW + 100) == PAUSE_S
    quota.pause(NOW + 200, 1e9)
    assert quota.wait_s(NOW + 200) == MOST_PAUSE_S


def test_a_limit_that_stays_keeps_what_was_taken_of_it():
    quota = Quota(1, 100)
    quota.take(100, NOW)
    quota.limit(1, 200)
    assert quota.wait_s(NOW) == pytest.approx(60)
    quota.limit(None, 200)
    assert quota.wait_s(NOW) == 0


@given(st.lists(st.floats(0, 30), min_size=1, max_size=200), st.integers(1, 50))
def test_never_more_than_two_minutes_worth_within_a_minute(gaps, per_minute):
    quota, now, sent = Quota(requests_per_minute=per_minute), NOW, []
    for gap in gaps:
        now += gap
        if quota.wait_s(now) == 0:
            quota.take(0, now)
            sent.append(now)
    assert all(sum(at <= then < at + 60 for then in sent) <= 2 * per_minute for at in sent)
