"""Every charge is given back exactly once, whatever becomes of the attempt, and its policy hears of each step once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.scheduling import Charge, RoundRobin
from balancer.core.types import Decision, Usage
from tests.core.states import replica, request

STEPS = st.lists(
    st.tuples(st.sampled_from(["charge", "first_token", "release"]), st.integers(0, 9), st.integers(0, 5000)),
    max_size=60,
)


class Hearing(RoundRobin):
    """Who is told what, and when."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def dispatched(self, charge, now):
        self.heard.append((charge, "dispatched", now))

    def first_token(self, charge, now):
        self.heard.append((charge, "first_token", now))

    def ended(self, charge, now):
        self.heard.append((charge, "ended", now))

    def of(self, charge):
        return [(what, now) for who, what, now in self.heard if who is charge]


def charged(state, tokens, policy=None, now=0.0):
    decision = Decision(state.id, "", matched_tokens=7, uncached_tokens=tokens, predicted_s=0.5)
    return Charge(request(), state, decision, policy or RoundRobin(), now)


@given(STEPS)
def test_the_ledger_is_never_negative_and_ends_at_zero(steps):
    state, policy = replica(), Hearing()
    charges = []
    pending = {}
    for step, number, tokens in steps:
        if step == "charge":
            charges.append(charged(state, tokens, policy))
            pending[len(charges) - 1] = tokens
        elif charges:
            chosen = number % len(charges)
            if step == "first_token":
                charges[chosen].first_token(1.0)
                if chosen in pending:
                    pending[chosen] = 0
            else:
                charges[chosen].release(2.0)
                pending.pop(chosen, None)
        assert state.in_flight == len(pending)
        assert state.pending_tokens == sum(pending.values())
    for charge in charges:
        charge.release(2.0)
        charge.release(3.0)
        charge.first_token(3.0)
        heard = policy.of(charge)
        assert heard in (
            [("dispatched", 0.0), ("ended", 2.0)],
            [("dispatched", 0.0), ("first_token", 1.0), ("ended", 2.0)],
        )
    assert (state.in_flight, state.pending_tokens) == (0, 0)


def test_a_late_release_does_not_touch_the_replicas_successor():
    old, new = replica("a"), replica("a")
    charge = charged(old, 10)
    charged(new, 5)
    charge.release(1.0)
    assert (new.in_flight, new.pending_tokens) == (1, 5)


def test_it_keeps_what_there_is_to_learn_from():
    policy = Hearing()
    charge = charged(replica(), 10, policy, now=3.0)
    charge.first_token(3.5)
    charge.release(4.0, Usage(100, 20, 90), output_events=19)
    charge.release(9.0, Usage(1, 1, 1), output_events=1)
    assert (charge.sent_at, charge.first_token_at, charge.ended_at, charge.predicted_s) == (
        3.0,
        3.5,
        4.0,
        0.5,
    )
    assert (charge.usage, charge.output_events) == (Usage(100, 20, 90), 19)
    assert (charge.matched_tokens, charge.uncached_tokens, charge.pending_tokens) == (7, 10, 0)


def test_an_answer_that_does_not_stream_tells_no_first_token():
    charge = charged(replica(), 10)
    charge.release(4.0)
    assert charge.first_token_at is None


def test_prefill_that_is_taken_for_done_is_given_back_once():
    state = replica()
    charge = charged(state, 10)
    charge.prefilled()
    assert (state.in_flight, state.pending_tokens) == (1, 0)
    charge.first_token(1.0)
    charge.release(2.0)
    assert (state.in_flight, state.pending_tokens) == (0, 0)


def test_a_policy_that_fails_keeps_nothing_charged():
    class Broken(RoundRobin):
        def dispatched(self, charge, now):
            raise OverflowError

    state = replica()
    with pytest.raises(OverflowError):
        charged(state, 7, Broken())
    assert (state.in_flight, state.pending_tokens) == (0, 0)
