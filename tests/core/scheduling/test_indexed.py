"""Blocks in tokens, and how much of an engine's cache the index counts on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.prefix.blocks import BLOCK_BYTES
from balancer.core.scheduling import CacheAware
from balancer.core.scheduling.capacity import LEAST_TRUST, Capacity
from balancer.core.scheduling.indexed import SETTLED_S, block_tokens, matched_blocks, matched_tokens
from balancer.core.types import RequestView, RouteKind, Usage
from tests.core.scheduling.stage import BLOCK, Stage
from tests.core.states import sample


def prompt(size_bytes, tokens):
    return RequestView(
        RouteKind.CHAT,
        block_keys=[0] * (size_bytes // BLOCK_BYTES),
        prompt_bytes=size_bytes,
        prompt_tokens=tokens,
    )


@pytest.mark.parametrize(
    ("request_", "blocks", "tokens"),
    [
        (prompt(2560, 640), 10, 640),
        (prompt(2560, 640), 3, 192),
        (prompt(2560, 1280), 3, 384),
        (prompt(2700, 1350), 10, 1280),
        (prompt(2560, 160), 1, 16),
        (prompt(2560, 640), 0, 0),
        (RequestView(RouteKind.CHAT, block_keys=[0] * 10, prompt_tokens=700), 3, 192),
        (RequestView(RouteKind.CHAT, block_keys=[0] * 10, prompt_tokens=100), 3, 100),
        (RequestView(RouteKind.CHAT), 0, 0),
    ],
)
def test_blocks_are_as_many_tokens_as_the_prompt_has_for_its_bytes(request_, blocks, tokens):
    assert matched_tokens(request_, blocks) == tokens


@given(st.integers(BLOCK_BYTES, 10**6), st.floats(0.5, 16), st.data())
def test_tokens_of_blocks_are_the_blocks_again(size_bytes, ratio, data):
    request = prompt(size_bytes, max(1, round(size_bytes / ratio)))
    blocks = data.draw(st.integers(0, len(request.block_keys)))
    tokens = matched_tokens(request, blocks)
    assert 0 <= tokens <= request.prompt_tokens
    assert tokens == pytest.approx(blocks * block_tokens(request), abs=1)
    assert matched_blocks(request, tokens) == blocks


def test_a_capacity_follows_the_tokens_of_what_is_sent():
    capacity = Capacity()
    assert not capacity.resized()
    capacity.kv_capacity_tokens = 6400
    assert capacity.resized()
    assert capacity.blocks == 6400 // BLOCK
    for _ in range(1000):
        capacity.sent(prompt(25_600, 12_800))
    assert capacity.resized()
    assert capacity.blocks == pytest.approx(6400 / 128, rel=0.06)
    capacity.sent(RequestView(RouteKind.CHAT, prompt_tokens=10**6))  # its bytes were not read
    assert not capacity.resized()


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 200)), max_size=9))
def test_trust_has_its_bounds(runs):
    capacity = Capacity()
    capacity.kv_capacity_tokens = 64_000
    for kept in [kept for kept, times in runs for _ in range(times)]:
        capacity.kept() if kept else capacity.broken()
        capacity.resized()
        assert LEAST_TRUST <= capacity.trust <= 1
        assert 250 <= capacity.blocks <= 1000


def test_one_broken_promise_in_six_leaves_the_size_as_it_is():
    capacity = Capacity()
    for _ in range(200):
        capacity.broken()
        for _ in range(5):
            capacity.kept()
    assert capacity.trust > 0.95


# -- through a policy

CAPACITY_BLOCKS = 400


class World(Stage):
    """One replica, which holds conversation `ab`, sent a while ago."""

    def __init__(self):
        super().__init__(lambda index, rng: CacheAware(index), 1)
        self.policy.sized(self["a"], CAPACITY_BLOCKS * BLOCK)
        self.send_and_answer("ab", 0)

    def send_and_answer(self, text, cached, *, after_s=2 * SETTLED_S):
        self.now += after_s
        charge = self.send(text)
        told = Usage(charge.request.prompt_tokens, 1, cached)
        charge.release(self.now + 1, told)
        return charge

    @property
    def capacity(self):
        return self.index._capacity[self["a"].slot]

    def often(self, text, cached, times=60, **how):
        for _ in range(times):
            charge = self.send_and_answer(text, cached, **how)
            assert charge.matched_tokens == BLOCK * len(text)


LONG = "abcdefghij"


def test_what_the_engine_did_not_hold_makes_the_index_smaller_and_what_it_held_lets_it_grow():
    world = World()
    world.send_and_answer(LONG, 0)
    world.often(LONG, cached=0)
    assert 0.25 * CAPACITY_BLOCKS <= world.capacity < 0.4 * CAPACITY_BLOCKS
    world.often(LONG, cached=BLOCK * 9, times=400)
    assert world.capacity > 0.94 * CAPACITY_BLOCKS


@pytest.mark.parametrize(
    ("cached", "how"),
    [
        (None, {}),  # the engine does not tell
        (0, {"after_s": SETTLED_S / 2}),  # may still be being computed by the one before
        (BLOCK * 5, {}),  # half of it was there
    ],
)
def test_what_says_nothing_of_the_size_changes_nothing(cached, how):
    world = World()
    world.send_and_answer(LONG, 0)
    world.often(LONG, cached, **how)
    assert world.capacity == CAPACITY_BLOCKS


def test_a_short_prompt_or_a_large_block_of_the_engine_explains_what_is_missing():
    world = World()
    world.often("ab", cached=0)
    assert world.capacity == CAPACITY_BLOCKS
    world["a"].sampled(sample(0.0, block_size_tokens=BLOCK * 16), 0)
    world.send_and_answer(LONG, 0)
    world.often(LONG, cached=0)
    assert world.capacity == CAPACITY_BLOCKS


def test_an_attempt_that_failed_breaks_no_promise_and_none_is_kept_in_mind():
    world = World()
    world.send_and_answer(LONG, 0)
    for _ in range(60):
        world.now += 2 * SETTLED_S
        world.send(LONG).release(world.now)
    assert world.capacity == CAPACITY_BLOCKS
    assert not world.policy._promises


def test_an_answer_may_come_after_its_replica_has_left():
    world = World()
    world.now += 2 * SETTLED_S
    charge = world.send("ab")
    world.policy.left(world["a"])
    charge.release(world.now, Usage(128, 1, 0))
    assert not world.policy._promises
