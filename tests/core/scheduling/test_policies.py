"""What the policies that look at load or session promise."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.scheduling import LeastRequests, PowerOfTwo, Random, RoundRobin, Session
from balancer.core.scheduling.rendezvous import FLOOR
from balancer.core.scheduling.session import hashed, session_key
from tests.core.states import replica, replicas, request, sample


@given(st.integers(1, 7), st.integers(1, 40))
def test_round_robin_is_even(count, rounds):
    policy, fleet = RoundRobin(), replicas(count)
    chosen = [policy.choose(request(), fleet, 0.0).replica for _ in range(rounds * count)]
    assert set(Counter(chosen).values()) == {rounds}
    assert chosen[:count] == chosen[-count:]


def test_round_robin_stays_even_while_a_replica_is_away():
    policy, fleet = RoundRobin(), replicas(3)
    chosen = Counter(policy.choose(request(), fleet[:2], 0.0).replica for _ in range(20))
    assert chosen == {"r0": 10, "r1": 10}
    chosen = Counter(policy.choose(request(), fleet, 0.0).replica for _ in range(30))
    assert max(chosen.values()) - min(chosen.values()) <= 1


@given(st.lists(st.integers(0, 9), min_size=2, max_size=6), st.integers(0, 2**32))
def test_power_of_two_never_takes_the_more_loaded_of_its_two(loads, seed):
    policy, fleet = PowerOfTwo(random.Random(seed).random), replicas(len(loads))
    for state, load in zip(fleet, loads, strict=True):
        state.in_flight = load
    decision = policy.choose(request(), fleet, 0.0)
    drawn = {candidate.replica for candidate in decision.candidates}
    assert len(drawn) == 2
    assert decision.replica in drawn
    assert {s.id: s.in_flight for s in fleet}[decision.replica] == min(
        c.in_flight for c in decision.candidates
    )


def test_power_of_two_draws_every_pair():
    policy, fleet = PowerOfTwo(random.Random(1).random), replicas(4)
    pairs = {
        frozenset(c.replica for c in policy.choose(request(), fleet, 0.0).candidates) for _ in range(300)
    }
    assert len(pairs) == 6


@pytest.mark.parametrize("draw", [0.0, 0.999999999999])
def test_the_ends_of_the_rng_are_in_range(draw):
    for policy in (Random(lambda: draw), PowerOfTwo(lambda: draw)):
        for count in (1, 2, 5):
            policy.choose(request(), replicas(count), 0.0)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_least_requests_takes_a_least_loaded(loads):
    policy, fleet = LeastRequests(), replicas(len(loads))
    for state, load in zip(fleet, loads, strict=True):
        state.in_flight = load
    decision = policy.choose(request(), fleet, 0.0)
    assert {s.id: s.in_flight for s in fleet}[decision.replica] == min(loads)
    assert [c.cost for c in decision.candidates] == sorted(loads)


def test_least_requests_takes_ties_in_turn():
    policy, fleet = LeastRequests(), replicas(3)
    assert Counter(policy.choose(request(), fleet, 0.0).replica for _ in range(9)) == dict.fromkeys(
        ["r0", "r1", "r2"], 3
    )


def test_other_clients_of_an_engine_count():
    policy, fleet = LeastRequests(), replicas(2)
    fleet[0].sampled(sample(100.0, running=5.0), 0)
    fleet[1].in_flight = 3
    assert policy.choose(request(), fleet, 100.0).replica == "r1"
    assert policy.choose(request(), fleet, 200.0).replica == "r0"


# -- session


def homes(policy, fleet, sessions=200):
    return {n: policy.choose(request(session=f"s{n}"), fleet, 0.0).replica for n in range(sessions)}


def test_a_session_stays_and_sessions_spread():
    policy, fleet = Session(), replicas(5)
    first = homes(policy, fleet)
    assert homes(policy, list(reversed(fleet))) == first
    assert min(Counter(first.values()).values()) > 20


@given(st.integers(0, 4))
def test_a_replica_that_leaves_moves_only_its_own_sessions(leaving):
    policy, fleet = Session(), replicas(5)
    before = homes(policy, fleet, 60)
    after = homes(policy, [state for state in fleet if state is not fleet[leaving]], 60)
    assert all(after[n] == home for n, home in before.items() if home != f"r{leaving}")


def test_a_session_is_passed_on_only_above_the_bound():
    policy, fleet = Session(), replicas(4)
    asked = request(session="s")
    home = policy.choose(asked, fleet, 0.0).replica
    state = next(s for s in fleet if s.id == home)
    state.in_flight = FLOOR - 1
    assert policy.choose(asked, fleet, 0.0)[:2] == (home, "session")
    state.in_flight = 100
    spilled = policy.choose(asked, fleet, 0.0)
    assert spilled.replica != home
    assert spilled.reason == "session_spilled"
    for other in fleet:
        other.in_flight = 100
    assert policy.choose(asked, fleet, 0.0).replica == home


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200), st.integers(2, 5))
def test_no_replica_gets_more_than_its_bound(sessions, count):
    policy, fleet = Session(), replicas(count)
    by_id = {state.id: state for state in fleet}
    for number in sessions:
        by_id[policy.choose(request(session=f"s{number}"), fleet, 0.0).replica].in_flight += 1
    mean = len(sessions) / count
    assert max(state.in_flight for state in fleet) <= max(FLOOR, 1.5 * (mean + 1) + 1)


def test_what_names_a_session():
    assert session_key(request(session="x", conversation=b"c")) == session_key(request(session="x"))
    assert session_key(request(session="x")) != session_key(request(conversation=b"x"))
    assert session_key(request(conversation=b"x")) == b"cx"
    assert session_key(request()) is None
    assert session_key(request(session="\udcff"))


def test_a_session_is_known_by_its_hash():
    assert "anna" not in hashed("anna@example.com")
    assert session_key(request(session=hashed("anna"))) == session_key(request(session="anna"))
    assert hashed("#" + 32 * "x") != "#" + 32 * "x"  # looks like a hash, and is none


def test_no_session_goes_to_the_least_loaded():
    policy, fleet = Session(), [replica("a"), replica("b")]
    fleet[0].in_flight = 2
    assert policy.choose(request(), fleet, 0.0)[:2] == ("b", "least_loaded")
