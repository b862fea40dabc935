import pytest

from balancer.core.admission.saturation import below_limit, saturated, with_room
from balancer.core.fleet.replica import SAMPLE_MAX_AGE_S
from tests.core.states import replica, sample

FULL = {"running": 4.0, "waiting": 2.0, "kv_usage": 0.97}


def sampled(in_flight=6, now=0.0, **signals):
    state = replica()
    state.in_flight = in_flight
    state.sampled(sample(now, **{**FULL, **signals}), in_flight)
    return state


def test_who_waits_in_a_full_engine_shows_that_it_is_saturated():
    assert saturated(sampled(), 1.0)


@pytest.mark.parametrize(
    "signals",
    [{"kv_usage": 0.94}, {"waiting": 0.0}, {"kv_usage": None}, {"waiting": None}],
    ids=str,
)
def test_else_it_has_room(signals):
    assert not saturated(sampled(**signals), 1.0)


def test_what_ended_since_the_reading_made_room_and_what_was_sent_took_it():
    state = sampled()
    state.in_flight -= 1
    assert saturated(state, 1.0)
    state.in_flight -= 1
    assert not saturated(state, 1.0)
    state.in_flight += 1
    assert saturated(state, 1.0)


def test_a_full_engine_in_which_none_waits_takes_one():
    state = sampled(waiting=0.0)
    assert not saturated(state, 1.0)
    state.in_flight += 1
    assert saturated(state, 1.0)


def test_an_old_reading_says_nothing():
    state = sampled()
    assert saturated(state, SAMPLE_MAX_AGE_S)
    assert state.fresh(SAMPLE_MAX_AGE_S)
    assert not saturated(state, SAMPLE_MAX_AGE_S + 0.1)
    assert not state.fresh(SAMPLE_MAX_AGE_S + 0.1)
    assert not replica().fresh(0.0)


def test_others_alone_hold_nothing_back():
    assert not saturated(sampled(in_flight=0), 1.0)


def test_a_limit_holds_whatever_the_metrics_say():
    state = replica(max_in_flight=2)
    assert not saturated(state, 0.0)
    state.in_flight = 2
    assert saturated(state, 0.0)
    other = sampled()
    idle = replica()
    assert with_room([state, other, idle], 0.0) == [idle]
    assert below_limit([state, other]) == [other]
