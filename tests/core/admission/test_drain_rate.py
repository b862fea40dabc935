import pytest

from balancer.core.admission.drain_rate import WINDOW_S, DrainRate
from balancer.core.admission.limits import Limits, Reason


def drained(seconds, every_s):
    rate, now = DrainRate(), 0.0
    rate.begins(now)
    while now < seconds:
        now += every_s
        rate.sent(now)
    return rate, now


@pytest.mark.parametrize("every_s", [0.1, 2.0])
def test_a_steady_rate_is_found(every_s):
    rate, now = drained(300, every_s)
    assert rate.per_s(now) == pytest.approx(1 / every_s, rel=0.1)
    assert rate.wait_s(50, now) == pytest.approx(50 * every_s, rel=0.1)


def test_the_last_half_minute_counts_most():
    rate, now = drained(300, 0.1)
    for _ in range(60):
        now += 1.0
        rate.sent(now)
    assert 1 < rate.per_s(now) < 3


def test_time_in_which_nobody_waits_does_not_count():
    rate, now = drained(60, 1.0)
    before = rate.per_s(now)
    rate.pauses()
    rate.begins(now + 1000 * WINDOW_S)
    assert rate.per_s(now + 1000 * WINDOW_S) == before


def test_where_none_has_gone_yet_the_time_so_far_is_the_least_that_one_takes():
    rate = DrainRate()
    assert (rate.per_s(5.0), rate.wait_s(10, 5.0)) == (0.0, 0.0)
    rate.begins(0.0)
    assert rate.per_s(2.0) == 0.0
    assert rate.wait_s(10, 2.0) == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize(("drained_in_s", "told"), [(0.0, 1), (0.2, 1), (1.2, 2), (59.5, 60), (1e9, 60)])
def test_retry_after_is_a_minute_at_most(drained_in_s, told):
    refused = Limits(overload_status=429).refusal(Reason.FULL, drained_in_s)
    assert (refused.status, refused.type, refused.retry_after_s) == (429, "RateLimitError", told)
    assert Limits().refusal(Reason.WAITED, drained_in_s).status == 503


def test_a_deadline_that_passed_is_no_overload():
    refused = Limits().refusal(Reason.DEADLINE, 3.0)
    assert (refused.status, refused.retry_after_s) == (504, None)
