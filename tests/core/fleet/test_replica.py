"""Every charge is given back exactly once, whatever becomes of the attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.fleet.replica import SAMPLE_MAX_AGE_S, Charge
from tests.core.states import replica, sample

STEPS = st.lists(
    st.tuples(st.sampled_from(["charge", "first_token", "release"]), st.integers(0, 9), st.integers(0, 5000)),
    max_size=60,
)


@given(STEPS)
def test_the_ledger_is_never_negative_and_ends_at_zero(steps):
    state = replica()
    charges = []
    waiting = {}
    for step, number, tokens in steps:
        if step == "charge":
            charges.append(Charge(state, tokens))
            waiting[len(charges) - 1] = tokens
        elif charges:
            chosen = number % len(charges)
            if step == "first_token":
                charges[chosen].first_token()
                if chosen in waiting:
                    waiting[chosen] = 0
            else:
                charges[chosen].release()
                waiting.pop(chosen, None)
        assert state.in_flight == len(waiting)
        assert state.pending_tokens == sum(waiting.values())
    for charge in charges:
        charge.release()
        charge.release()
        charge.first_token()
    assert (state.in_flight, state.pending_tokens) == (0, 0)


def test_a_late_release_does_not_touch_the_replicas_successor():
    old, new = replica("a"), replica("a")
    charge = Charge(old, 10)
    Charge(new, 5)
    charge.release()
    assert (new.in_flight, new.pending_tokens) == (1, 5)


@pytest.mark.parametrize(
    ("signals", "asked", "now", "foreign"),
    [
        ({"running": 5.0, "waiting": 2.0}, 3, 3, 4),
        ({"running": 5.0}, 0, 0, 5),
        ({}, 0, 0, 0),
        ({"running": 1.0, "waiting": 0.0}, 4, 4, 0),
        ({"running": 4.0}, 4, 1, 0),  # ours ended while the page was read
        ({"running": 4.0}, 1, 4, 0),  # ours began while the page was read
    ],
)
def test_load_counts_what_the_engine_has_beyond_ours(signals, asked, now, foreign):
    state = replica()
    state.in_flight = now
    state.sampled(sample(100.0, **signals), asked)
    assert state.load(100.0) == now + foreign


def test_an_old_reading_says_nothing_of_the_load_now():
    state = replica()
    state.sampled(sample(100.0, running=7.0), 0)
    assert state.load(100.0 + SAMPLE_MAX_AGE_S) == 7
    assert state.load(100.1 + SAMPLE_MAX_AGE_S) == 0


def test_a_page_without_the_signals_makes_nobody_look_busier_or_idler_than_known():
    state = replica()
    state.in_flight = 3
    state.sampled(sample(100.0), 3)
    assert state.load(100.0) == 3


def test_what_is_not_known_is_neither_yes_nor_no():
    assert replica(models=None).serves("m") is None
    assert replica(models=None).serves(None) is True
    assert replica(models=()).serves("m") is False
    assert replica().serves("m") is True
