"""Who is believed to be busy, and for how long."""

from balancer.core.fleet.patience import (
    DOUBTFUL,
    DOUBTFUL_S,
    GONE_S,
    HEADLESS_S,
    TRUSTED,
    TRUSTED_S,
    UNSEEN_S,
    patience_s,
)
from balancer.core.types import EngineSample, Fault, Health
from tests.core.states import replica


def patience(state, predicted_s=None, *, streams=True, begun=True):
    return patience_s(state, predicted_s, streams=streams, begun=begun)


def test_the_surer_its_end_the_shorter():
    state = replica()
    assert patience(state) == TRUSTED_S
    assert patience(state, begun=False) == HEADLESS_S
    for health in (Health.EJECTED, Health.ASLEEP, Health.UNHEALTHY):
        state.health = health
        assert patience(state) == DOUBTFUL_S
    state.fault = Fault.REFUSED
    assert patience(state) == GONE_S
    assert GONE_S < DOUBTFUL_S < HEADLESS_S < TRUSTED_S < UNSEEN_S


def test_long_queues_are_waited_for():
    state = replica()
    assert patience(state, 100.0) == TRUSTED * 100
    state.health = Health.UNHEALTHY
    assert patience(state, 100.0) == DOUBTFUL * 100


def test_a_plain_answer_shows_nothing_before_its_end():
    state = replica()
    assert patience(state, streams=False) == UNSEEN_S
    state.sample = EngineSample(0.0)  # its counters would show it
    assert patience(state, streams=False) == TRUSTED_S
