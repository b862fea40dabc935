from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from balancer.core.scheduling import CacheAware
from tests.core.scheduling.stage import BLOCK, Stage
from tests.core.states import replicas

LONG = "p" * 100  # 6,400 tokens


def start(count):
    return Stage(lambda index, rng: CacheAware(index), count)


def answered(stage, text):
    """Where the policy sent it; the replica is idle again."""
    charge = stage.send(text)
    charge.release(stage.now)
    return charge.replica.id


def test_a_conversation_goes_to_the_replica_that_holds_it():
    stage = start(4)
    first = stage.choose(LONG)
    assert (first.reason, first.matched_tokens, first.uncached_tokens) == ("least_work", 0, 6400)
    home = answered(stage, LONG)
    again = stage.choose(LONG + "q")
    assert (again.replica, again.reason) == (home, "cached")
    assert (again.matched_tokens, again.uncached_tokens) == (6400, BLOCK)
    costs = {candidate.replica: candidate.cost for candidate in again.candidates}
    assert min(costs, key=costs.get) == home
    assert {c.replica: c.matched_tokens for c in again.candidates}[home] == 6400


def test_a_busy_holder_is_left_for_an_idle_replica():
    stage = start(2)
    home = answered(stage, LONG)
    other = next(state.id for state in stage.fleet if state.id != home)
    stage.hold(LONG[:10], on=other)
    charges = [stage.send(letter * 80, to=home) for letter in "wxyz"]
    spilled = stage.choose(LONG)
    assert spilled[:3] == (other, "cached_elsewhere_but_busy", 10 * BLOCK)
    stage.hold(LONG, spilled.replica)
    for charge in charges:
        charge.release(stage.now)
    assert stage.choose(LONG).reason == "cached_everywhere"


def test_work_that_has_reached_its_first_token_weighs_less():
    stage = start(2)
    prefilling, decoding = stage.send("x" * 50, to="a"), stage.send("y" * 50, to="b")
    decoding.first_token(stage.now)
    assert stage.choose("p").replica == "b"
    prefilling.release(stage.now)
    assert stage.choose("q").replica == "a"


def test_a_prefix_that_everybody_holds_gives_no_preference():
    stage = start(3)
    for name in "abc":
        stage.hold("s" * 30, on=name)
    chosen = Counter(answered(stage, "s" * 30 + chr(ord("A") + number)) for number in range(30))
    assert set(chosen.values()) == {10}


def test_ties_go_to_the_one_chosen_longest_ago():
    stage = start(3)
    assert [answered(stage, letter) for letter in "pqrstuvwx"] == ["a", "b", "c"] * 3


def test_a_restart_forgets_and_a_departure_too():
    stage = start(2)
    home = answered(stage, LONG)
    stage.policy.forgot(stage[home])
    assert stage.choose(LONG).reason == "least_work"
    answered(stage, LONG)
    for state in stage.fleet:
        stage.policy.left(state)
    stage.fleet = replicas(1)
    stage.policy.joined(stage.fleet[0])
    assert stage.choose(LONG).matched_tokens == 0


def test_no_more_is_believed_than_the_kv_cache_holds():
    stage = start(1)
    stage.policy.sized(stage["a"], 10 * BLOCK)
    answered(stage, LONG)
    assert stage.choose(LONG).matched_tokens == 10 * BLOCK


@given(st.lists(st.text("pq", max_size=9), max_size=30))
def test_a_match_never_exceeds_the_prompt(prompts):
    stage = start(3)
    for text in prompts:
        decision = stage.choose(text)
        assert all(0 <= c.matched_tokens <= BLOCK * len(text) for c in decision.candidates)
        assert decision.uncached_tokens == max(1, BLOCK * len(text) - decision.matched_tokens)
        answered(stage, text)
