import string
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from balancer.core.scheduling.prefix_hash import DEPTH_BLOCKS, PrefixHash
from balancer.core.scheduling.rendezvous import FLOOR, rendezvous
from tests.core.scheduling.stage import Stage
from tests.core.states import replicas


def start(count):
    return Stage(lambda index, rng: PrefixHash(), count)


def test_prompts_that_begin_alike_share_a_home_and_prefixes_spread():
    stage = start(4)
    homes = {letter: stage.choose(letter * DEPTH_BLOCKS).replica for letter in string.ascii_letters}
    assert min(Counter(homes.values()).values()) > 4
    for letter, home in homes.items():
        assert stage.choose(letter * DEPTH_BLOCKS + "question")[:2] == (home, "prefix")


def test_the_order_of_replicas_makes_no_difference():
    stage = start(5)
    before = stage.choose("abc").replica
    stage.fleet.reverse()
    assert stage.choose("abc").replica == before


def test_a_prompt_that_grows_moves_seldom_and_a_long_one_never():
    stage = start(8)
    text = (string.ascii_letters * 2)[: 4 * DEPTH_BLOCKS]
    homes = [stage.choose(text[: end + 1]).replica for end in range(len(text))]
    moves = sum(before != after for before, after in zip(homes, homes[1:], strict=False))
    assert moves <= DEPTH_BLOCKS.bit_length() - 1
    assert len(set(homes[DEPTH_BLOCKS - 1 :])) == 1
    assert all(home == homes[3] for home in homes[3:7])


def test_a_home_above_the_bound_passes_on_to_the_next_in_order():
    stage = start(4)
    home = stage.choose("abc").replica
    stage[home].in_flight = FLOOR - 1
    assert stage.choose("abc")[:2] == (home, "prefix")
    stage[home].in_flight = FLOOR
    second = stage.choose("abc")
    assert (second.replica != home, second.reason) == (True, "prefix_spilled")
    stage[second.replica].in_flight = FLOOR
    assert stage.choose("abc").replica not in {home, second.replica}
    for state in stage.fleet:
        state.in_flight = 100
    assert stage.choose("abc")[:2] == (home, "prefix")


@given(st.lists(st.sampled_from("pqrs"), max_size=200), st.integers(1, 6))
def test_no_replica_gets_more_than_its_bound(prompts, count):
    stage = start(count)
    for text in prompts:
        stage.send(text)
    most = max(state.in_flight for state in stage.fleet)
    assert most <= max(FLOOR, 1.25 * len(prompts) / count + 1)


def test_a_prompt_without_a_whole_block_goes_to_the_least_loaded():
    stage = start(3)
    stage["a"].in_flight = stage["b"].in_flight = 1
    assert stage.choose("")[:2] == ("c", "least_loaded")


@given(st.binary(max_size=8), st.integers(0, 5))
def test_a_replica_that_leaves_moves_only_what_was_its_own(key, leaving):
    fleet = replicas(6)
    order = rendezvous(key, fleet)
    assert rendezvous(key, (state for state in fleet if state is not fleet[leaving])) == [
        state for state in order if state is not fleet[leaving]
    ]
