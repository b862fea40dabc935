import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from balancer.core.errors import Blame, Refused
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.pins import ResponsePins
from balancer.core.types import Health
from tests.core.states import replica

STATES = st.lists(
    st.tuples(
        st.sampled_from([None, (), ("m",), ("n",), ("m", "n")]), st.sampled_from(Health), st.booleans()
    ),
    min_size=1,
    max_size=6,
)


def names(found):
    return [state.id for state in found]


@given(STATES, st.sampled_from([None, "m", "n", "nope"]))
def test_who_is_eligible_may_serve_it(states, model):
    fleet = Fleet(replica(f"r{n}", models=m, health=h) for n, (m, h, _) in enumerate(states))
    tried = frozenset(f"r{n}" for n, (*_, was_tried) in enumerate(states) if was_tried)
    knowing = [state for state in fleet if state.serves(model)]
    guessed = [state for state in fleet if state.serves(model) is None]
    usable = [s for s in knowing or guessed if s.health is not Health.DRAINING and s.id not in tried]
    try:
        found = fleet.eligible(model, tried)
    except Refused as refused:
        if knowing or guessed:
            assert (refused.status, refused.blame) == (503, Blame.REPLICA)
            assert not usable
        else:
            assert (refused.status, refused.blame, refused.param) == (404, Blame.CLIENT, "model")
        return
    assert found
    assert set(names(found)) <= set(names(usable))
    best = next(
        h for h in (Health.HEALTHY, Health.UNKNOWN, Health.UNHEALTHY) if h in {s.health for s in usable}
    )
    assert names(found) == [state.id for state in usable if state.health is best]


def test_when_all_are_unhealthy_all_are_tried_rather_than_none():
    fleet = Fleet([replica("a", health=Health.UNHEALTHY), replica("b", health=Health.UNHEALTHY)])
    assert names(fleet.eligible("m")) == ["a", "b"]
    assert names(fleet.eligible("m", frozenset({"a"}))) == ["b"]
    assert not fleet.can_serve()


def test_draining_replicas_are_not_a_reason_to_say_not_found():
    fleet = Fleet([replica("a", health=Health.DRAINING)])
    with pytest.raises(Refused) as refused:
        fleet.eligible("m")
    assert (refused.value.status, refused.value.retry_after_s) == (503, 1)


def test_the_refusal_of_a_model_lists_those_that_are_served():
    fleet = Fleet([replica("a", models=("m", "lora")), replica("b", models=("n",))])
    with pytest.raises(Refused) as refused:
        fleet.eligible("x" * 500)
    assert "lora, m, n" in refused.value.message
    assert len(refused.value.message) < 400


def test_a_model_that_nobody_is_known_to_serve_goes_to_whoever_is_not_known():
    fleet = Fleet([replica("a", models=("n",)), replica("b", models=None, health=Health.UNKNOWN)])
    assert names(fleet.eligible("m")) == ["b"]
    assert names(fleet.eligible("n")) == ["a"]


@given(st.integers(1, 4), st.lists(st.sampled_from("abcde"), max_size=30))
@example(2, ["a", "b", "a", "c"])
def test_pins_are_bounded_and_the_oldest_go_first(bound, ids):
    pins = ResponsePins(bound)
    newest = []
    for number, response in enumerate(ids):
        pins.remember(response, f"r{number}")
        newest = [*(each for each in newest if each[0] != response), (response, f"r{number}")][-bound:]
        assert len(pins) == len(newest)
    for response in "abcde":
        assert pins.find(response) == dict(newest).get(response)
