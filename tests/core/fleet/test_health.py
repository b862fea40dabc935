import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.fleet.health import HealthPolicy, failed, succeeded
from balancer.core.types import Health
from tests.core.states import replica

POLICY = HealthPolicy(failure_threshold=3, success_threshold=2)


def go(state, outcomes, policy=POLICY):
    """`+` a success, `-` a failure, `!` a certain one; what each returned."""
    return [
        succeeded(state, policy) if outcome == "+" else failed(state, policy, "e", certain=outcome == "!")
        for outcome in outcomes
    ]


@pytest.mark.parametrize(
    ("start", "outcomes", "end"),
    [
        (Health.UNKNOWN, "+", Health.UNKNOWN),
        (Health.UNKNOWN, "++", Health.HEALTHY),
        (Health.UNKNOWN, "---", Health.UNHEALTHY),
        (Health.UNKNOWN, "!", Health.UNHEALTHY),
        (Health.HEALTHY, "--", Health.HEALTHY),
        (Health.HEALTHY, "---", Health.UNHEALTHY),
        (Health.HEALTHY, "--+--+--", Health.HEALTHY),
        (Health.HEALTHY, "!", Health.UNHEALTHY),
        (Health.UNHEALTHY, "+-+", Health.UNHEALTHY),
        (Health.UNHEALTHY, "++", Health.HEALTHY),
        (Health.UNHEALTHY, "++--", Health.HEALTHY),
        (Health.DRAINING, "++", Health.DRAINING),
        (Health.DRAINING, "---!", Health.DRAINING),
    ],
)
def test_transitions(start, outcomes, end):
    state = replica(health=start)
    go(state, outcomes)
    assert state.health is end


@given(st.sampled_from(Health), st.text("+-!", max_size=30), st.integers(1, 4), st.integers(1, 4))
def test_a_change_is_told_exactly_when_there_is_one(start, outcomes, failures, successes):
    state = replica(health=start)
    policy = HealthPolicy(failures, successes)
    for outcome in outcomes:
        before = state.health
        (changed,) = go(state, outcome, policy)
        assert changed == (state.health is not before)
        assert (state.health is Health.DRAINING) == (start is Health.DRAINING)


def test_the_last_error_is_kept_until_it_is_over():
    state = replica()
    go(state, "---")
    assert state.last_error == "e"
    go(state, "++")
    assert state.last_error == ""
