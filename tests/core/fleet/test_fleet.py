import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from balancer.core.errors import Blame, Refused
from balancer.core.fleet.fleet import BUSY_S, MOST_BUSY_S, Fleet
from balancer.core.fleet.pins import ResponsePins
from balancer.core.types import Fault, Health
from tests.core.states import replica

STATES = st.lists(
    st.tuples(
        st.sampled_from([None, (), ("m",), ("n",), ("m", "n")]),
        st.sampled_from(Health),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


NOW = 1000.0


def names(found):
    return [state.id for state in found]


@given(STATES, st.sampled_from([None, "m", "n", "nope"]))
def test_who_is_eligible_may_serve_it(states, model):
    fleet = Fleet(replica(f"r{n}", models=m, health=h, draining=d) for n, (m, h, d, _) in enumerate(states))
    tried = frozenset(f"r{n}" for n, (*_, was_tried) in enumerate(states) if was_tried)
    knowing = [state for state in fleet if state.serves(model)]
    guessed = [state for state in fleet if state.serves(model) is None]
    usable = [
        s
        for s in knowing or guessed
        if s.health is not Health.ASLEEP and not s.draining and s.id not in tried
    ]
    try:
        found = fleet.eligible(model, NOW, tried)
    except Refused as refused:
        if knowing or guessed:
            assert (refused.status, refused.blame) == (503, Blame.REPLICA)
            assert not usable
        else:
            assert (refused.status, refused.blame, refused.param) == (404, Blame.CLIENT, "model")
        return
    assert found
    assert set(names(found)) <= set(names(usable))
    healthy = [state.id for state in usable if state.health is Health.HEALTHY]
    if healthy:
        assert set(healthy) <= set(names(found))
        suspected = [s.id for s in usable if s.health in {Health.EJECTED, Health.UNHEALTHY}]
        assert set(names(found)) == set(healthy) | set(suspected if fleet.panics(model) else ())
        return
    unknown = [state.id for state in usable if state.health is Health.UNKNOWN]
    assert names(found) == unknown or names(usable)


def test_when_all_are_unhealthy_all_are_tried_rather_than_none():
    fleet = Fleet([replica("a", health=Health.UNHEALTHY), replica("b", health=Health.UNHEALTHY)])
    assert names(fleet.eligible("m", NOW)) == ["a", "b"]
    assert names(fleet.eligible("m", NOW, frozenset({"a"}))) == ["b"]
    assert not fleet.can_serve()


def out(name, fault, in_flight=0):
    state = replica(
        name, health=Health.UNHEALTHY if fault in {Fault.PROBE, Fault.REFUSED} else Health.EJECTED
    )
    state.fault, state.in_flight = fault, in_flight
    return state


def test_in_a_panic_the_suspected_are_tried_too_up_to_the_share_of_the_healthy_and_the_dead_are_not():
    well = replica("a")
    fleet = Fleet([well, out("b", Fault.STALLED), out("c", Fault.PROBE), out("d", Fault.REFUSED)])
    assert fleet.panics("m")
    assert names(fleet.eligible("m", NOW)) == ["a", "b", "c"]
    fleet["b"].in_flight = 1
    assert names(fleet.eligible("m", NOW)) == ["a", "c"]
    well.in_flight = 1
    assert names(fleet.eligible("m", NOW)) == ["a", "b", "c"]
    assert names(Fleet(fleet, panic_threshold=0.0).eligible("m", NOW)) == ["a"]


def test_half_of_them_healthy_is_no_panic():
    fleet = Fleet([replica("a"), out("b", Fault.ERRORS), replica("c", draining=True)])
    assert not fleet.panics("m")
    assert names(fleet.eligible("m", NOW)) == ["a"]


def test_the_dead_are_tried_only_when_nobody_else_is_left():
    fleet = Fleet([out("a", Fault.REFUSED), out("b", Fault.ERRORS)])
    assert names(fleet.eligible("m", NOW)) == ["b"]
    assert names(fleet.eligible("m", NOW, frozenset({"b"}))) == ["a"]
    assert fleet.can_serve()


def test_those_asleep_are_refused_at_once():
    fleet = Fleet(
        [replica("a", health=Health.ASLEEP), replica("b", health=Health.ASLEEP), replica("c", models=("n",))]
    )
    with pytest.raises(Refused) as refused:
        fleet.eligible("m", NOW)
    assert (refused.value.status, refused.value.retry_after_s) == (503, 1)


def busy(fleet, **in_flight):
    for name, count in in_flight.items():
        fleet[name].in_flight = count


def test_one_that_is_back_warms_up():
    fleet = Fleet([replica("a"), replica("b"), replica("c")], warmup_s=30.0)
    fleet.warms_up(fleet["c"], NOW)
    busy(fleet, a=10, b=30)
    assert names(fleet.eligible("m", NOW)) == ["a", "b", "c"]
    most = []
    for age in (0.0, 10.0, 20.0, 29.0):
        fleet["c"].in_flight = 0
        while "c" in names(fleet.eligible("m", NOW + age)):
            fleet["c"].in_flight += 1
        most.append(fleet["c"].in_flight)
    assert most == [3, 9, 15, 21]
    fleet["c"].in_flight = 100
    assert names(fleet.eligible("m", NOW + 30)) == ["a", "b", "c"]


def test_it_is_never_left_idle_and_takes_all_when_it_is_alone():
    fleet = Fleet([replica("a"), replica("b")])
    fleet.warms_up(fleet["b"], NOW)
    assert names(fleet.eligible("m", NOW)) == ["a", "b"]
    busy(fleet, b=50)
    assert names(fleet.eligible("m", NOW)) == ["a"]
    fleet["a"].health = Health.UNHEALTHY
    assert names(fleet.eligible("m", NOW)) == ["b"]


def test_replicas_that_begin_together_do_not_ramp():
    fleet = Fleet([replica("a"), replica("b")])
    fleet["a"].turned_s = NOW - 5
    fleet.warms_up(fleet["b"], NOW, new=True)
    assert fleet["b"].warm_from_s is None
    fleet.warms_up(fleet["b"], NOW + 30, new=True)
    assert fleet["b"].warm_from_s == NOW + 30
    fleet.warms_up(fleet["a"], NOW + 30)
    busy(fleet, a=50, b=50)
    assert names(fleet.eligible("m", NOW + 30)) == ["a", "b"]


def test_draining_replicas_are_not_a_reason_to_say_not_found():
    fleet = Fleet([replica("a", draining=True)])
    assert not fleet.can_serve()
    with pytest.raises(Refused) as refused:
        fleet.eligible("m", NOW)
    assert (refused.value.status, refused.value.retry_after_s) == (503, 1)


def test_the_refusal_of_a_model_lists_those_that_are_served():
    fleet = Fleet([replica("a", models=("m", "lora")), replica("b", models=("n",))])
    with pytest.raises(Refused) as refused:
        fleet.eligible("x" * 500, NOW)
    assert "lora, m, n" in refused.value.message
    assert len(refused.value.message) < 400


def test_a_model_that_nobody_is_known_to_serve_goes_to_whoever_is_not_known():
    fleet = Fleet([replica("a", models=("n",)), replica("b", models=None, health=Health.UNKNOWN)])
    assert names(fleet.eligible("m", NOW)) == ["b"]
    assert names(fleet.eligible("n", NOW)) == ["a"]


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


def test_one_that_is_busy_is_set_aside_while_another_is_not():
    fleet = Fleet([replica("a"), replica("b")], warmup_s=0.0)
    fleet.declined(fleet["a"], NOW, None)
    assert names(fleet.eligible("m", NOW)) == ["b"]
    assert names(fleet.eligible("m", NOW, frozenset({"b"}))) == ["a"]
    assert names(fleet.eligible("m", NOW + BUSY_S)) == ["a", "b"]
    fleet.declined(fleet["b"], NOW, 3.0)
    assert names(fleet.eligible("m", NOW)) == ["a", "b"]  # both are
    assert names(fleet.eligible("m", NOW + 1)) == ["a"]
    assert names(fleet.eligible("m", NOW + 3)) == ["a", "b"]


def test_one_that_stays_busy_is_set_aside_for_longer_and_longer():
    fleet = Fleet([replica("a"), replica("b")])
    pauses = []
    for _ in range(9):
        fleet.declined(fleet["a"], NOW, None)
        pauses.append(fleet["a"].busy_until_s - NOW)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (BUSY_S, MOST_BUSY_S)
    fleet.declined(fleet["a"], NOW, 3600.0)
    assert fleet["a"].busy_until_s == NOW + MOST_BUSY_S
