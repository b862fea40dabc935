from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from balancer.core.fleet.replica import Charge
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling import CacheAware
from tests.core.states import replicas, request

LONG = tuple(range(100))  # 6,400 tokens


def start(count, max_blocks=10_000):
    policy, fleet = CacheAware(PrefixIndex(max_blocks)), replicas(count)
    for state in fleet:
        policy.joined(state)
    return policy, fleet


def send(policy, fleet, *keys):
    asked = request(*keys)
    decision = policy.choose(asked, fleet, 0.0)
    policy.dispatched(asked, next(state for state in fleet if state.id == decision.replica))
    return decision


def test_a_conversation_goes_to_the_replica_that_holds_it():
    policy, fleet = start(4)
    first = send(policy, fleet, *LONG)
    assert (first.reason, first.matched_tokens, first.uncached_tokens) == ("least_work", 0, 6400)
    again = send(policy, fleet, *LONG, 1000)
    assert (again.replica, again.reason) == (first.replica, "cached")
    assert (again.matched_tokens, again.uncached_tokens) == (6400, 64)
    assert {c.replica: c.matched_tokens for c in again.candidates}[first.replica] == 6400
    assert (
        min(c.cost for c in again.candidates) == {c.replica: c.cost for c in again.candidates}[first.replica]
    )


def test_a_busy_holder_is_left_for_an_idle_replica():
    policy, fleet = start(2)
    holder = send(policy, fleet, *LONG).replica
    busy = next(state for state in fleet if state.id == holder)
    charges = [Charge(busy, 5000) for _ in range(4)]
    spilled = send(policy, fleet, *LONG)
    assert (spilled.replica != holder, spilled.reason) == (True, "cached_elsewhere_but_busy")
    for charge in charges:
        charge.release()
    assert send(policy, fleet, *LONG).reason == "cached_everywhere"


def test_work_that_has_reached_its_first_token_weighs_less():
    policy, fleet = start(2)
    prefilling, decoding = Charge(fleet[0], 3000), Charge(fleet[1], 3000)
    decoding.first_token()
    assert send(policy, fleet, 7).replica == "r1"
    prefilling.release()
    assert send(policy, fleet, 8).replica == "r0"


def test_a_prefix_that_everybody_holds_gives_no_preference():
    policy, fleet = start(3)
    system = tuple(range(30))
    for state in fleet:
        policy.dispatched(request(*system), state)
    chosen = Counter(send(policy, fleet, *system, 1000 + n).replica for n in range(30))
    assert set(chosen.values()) == {10}


def test_ties_go_to_the_one_chosen_longest_ago():
    policy, fleet = start(3)
    chosen = [send(policy, fleet, 1000 + n).replica for n in range(9)]
    assert chosen == ["r0", "r1", "r2"] * 3


def test_a_restart_forgets_and_a_departure_too():
    policy, fleet = start(2)
    holder = send(policy, fleet, *LONG).replica
    policy.forgot(next(state for state in fleet if state.id == holder))
    assert send(policy, fleet, *LONG).reason == "least_work"
    for state in fleet:
        policy.left(state)
    fresh = replicas(1)
    policy.joined(fresh[0])
    assert policy.choose(request(*LONG), fresh, 0.0).matched_tokens == 0


def test_no_more_is_believed_than_the_kv_cache_holds():
    policy, fleet = start(1)
    policy.sized(fleet[0], 640)
    send(policy, fleet, *LONG)
    assert policy.choose(request(*LONG), fleet, 0.0).matched_tokens == 640


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=30))
def test_a_match_never_exceeds_the_prompt(turns):
    policy, fleet = start(3)
    for conversation, length in turns:
        decision = send(policy, fleet, *(1000 * conversation + n for n in range(length)))
        assert all(0 <= c.matched_tokens <= 64 * length for c in decision.candidates)
        assert decision.uncached_tokens == max(1, 64 * length - decision.matched_tokens)
