"""The index against the same thing said naively."""

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from xxhash import xxh3_64_intdigest

from balancer.core.prefix.index import PrefixIndex


def chain(text):
    """Keys of a prompt of one-byte blocks."""
    return [xxh3_64_intdigest(text[:end]) for end in range(1, len(text) + 1)]


KEYS = st.text("ab", max_size=8).map(lambda text: chain(text.encode()))
MAX_BLOCKS = 20


class Naive:
    """Per slot: keys with their last use, least recently used first."""

    def __init__(self, max_blocks):
        self.max_blocks = max_blocks
        self.held = {}
        self.capacity = {}

    def match(self, keys):
        depths = {}
        for slot, held in self.held.items():
            depth = 0
            while depth < len(keys) and keys[depth] in held:
                depth += 1
            if depth:
                depths[slot] = depth
        return depths

    def record(self, slot, keys, now=0.0):
        held = self.held[slot]
        for key in reversed(keys):
            held.pop(key, None)
            held[key] = now
        self._bound(slot, self.capacity.get(slot, self.max_blocks))
        total = sum(map(len, self.held.values()))
        if total > self.max_blocks:
            largest = max(self.held, key=lambda s: len(self.held[s]))
            self._bound(largest, len(self.held[largest]) - (total - self.max_blocks))

    def _bound(self, slot, blocks):
        held = self.held[slot]
        for key in list(held)[: max(0, len(held) - blocks)]:
            del held[key]

    def set_capacity(self, slot, blocks):
        self.capacity[slot] = blocks
        self._bound(slot, blocks)

    def full(self, slot):
        if slot in self.capacity:
            return len(self.held[slot]) >= self.capacity[slot]
        return sum(map(len, self.held.values())) >= self.max_blocks


class AgainstNaive(RuleBasedStateMachine):
    @initialize()
    def start(self):
        self.index, self.naive = PrefixIndex(MAX_BLOCKS), Naive(MAX_BLOCKS)
        self.slots = []
        self.now = 0.0
        self.seen = set()

    @precondition(lambda self: len(self.slots) < 4)
    @rule()
    def acquire(self):
        slot = self.index.acquire()
        assert slot not in self.slots
        self.slots.append(slot)
        self.naive.held[slot] = {}

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def release(self, data):
        slot = data.draw(st.sampled_from(self.slots))
        self.index.release(slot)
        self.slots.remove(slot)
        del self.naive.held[slot]
        self.naive.capacity.pop(slot, None)

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), keys=KEYS, later_s=st.sampled_from([0.0, 0.0, 1.0, 5.0]))
    def record(self, data, keys, later_s):
        slot = data.draw(st.sampled_from(self.slots))
        self.now += later_s
        self.seen.update(keys)
        # both forget from the largest share; which of two equal ones is nobody's promise, but the same here
        self.index.record(slot, keys, self.now)
        self.naive.record(slot, keys, self.now)
        if keys and keys[-1] in self.naive.held[slot]:
            assert self.index.last_used(slot, keys[-1]) == pytest.approx(self.now)

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def clear(self, data):
        slot = data.draw(st.sampled_from(self.slots))
        self.index.clear(slot)
        self.naive.held[slot] = {}

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), blocks=st.integers(1, 12))
    def set_capacity(self, data, blocks):
        slot = data.draw(st.sampled_from(self.slots))
        self.index.set_capacity(slot, blocks)
        self.naive.set_capacity(slot, blocks)

    @rule(keys=KEYS)
    def match(self, keys):
        assert self.index.match(keys) == self.naive.match(keys)

    @invariant()
    def counts(self):
        assert len(self.index) == sum(map(len, self.naive.held.values())) <= MAX_BLOCKS
        for slot, held in self.naive.held.items():
            assert self.index.held_blocks(slot) == len(held)

    @invariant()
    def ages(self):
        now = self.now + 1
        for slot, held in self.naive.held.items():
            age = self.index.oldest_age(slot, now)
            if held and self.naive.full(slot):
                assert age == pytest.approx(now - next(iter(held.values())))
            else:
                assert age is None

    @invariant()
    def last_uses(self):
        for slot, held in self.naive.held.items():
            for key in self.seen:
                known = self.index.last_used(slot, key)
                assert known is None or known == pytest.approx(held[key])


TestAgainstNaive = AgainstNaive.TestCase


def test_a_chain_is_forgotten_from_its_tail():
    index = PrefixIndex(100)
    slot = index.acquire()
    index.set_capacity(slot, 3)
    index.record(slot, [1, 2, 3, 4, 5])
    assert index.match([1, 2, 3, 4, 5]) == {slot: 3}


def test_a_prompt_longer_than_the_whole_index_keeps_its_head():
    index = PrefixIndex(4)
    slots = [index.acquire(), index.acquire()]
    index.record(slots[0], list(range(50, 54)))
    index.record(slots[1], list(range(10)))
    assert len(index) <= 4
    assert index.match(list(range(10)))[slots[1]] >= 1


def test_used_again_is_kept_longer():
    index = PrefixIndex(100)
    slot = index.acquire()
    index.set_capacity(slot, 4)
    index.record(slot, [1, 2])
    index.record(slot, [11, 12])
    index.record(slot, [1, 2])
    index.record(slot, [21, 22])
    assert index.match([1, 2]) == {slot: 2}
    assert index.match([11, 12]) == {}


def test_a_slot_that_is_used_again_knows_nothing_of_the_past():
    index = PrefixIndex(100)
    slot = index.acquire()
    index.set_capacity(slot, 1)
    index.record(slot, [1])
    index.release(slot)
    assert index.acquire() == slot
    assert index.match([1]) == {}
    index.record(slot, [1, 2, 3])
    assert index.match([1, 2, 3]) == {slot: 3}


@given(st.lists(st.tuples(st.integers(0, 69), KEYS), max_size=20), KEYS)
def test_more_replicas_than_a_machine_word_has_bits(records, keys):
    index, naive = PrefixIndex(1000), Naive(1000)
    for _ in range(70):
        naive.held[index.acquire()] = {}
    for slot, recorded in records:
        index.record(slot, recorded)
        naive.record(slot, recorded)
    assert index.match(keys) == naive.match(keys)


def test_a_shared_beginning_outlives_the_chains_that_left_it():
    index = PrefixIndex(100)
    slot = index.acquire()
    index.set_capacity(slot, 6)
    for end in b"xyzw":
        index.record(slot, chain(b"abc" + bytes([end])))
    assert index.match(chain(b"abcx")) == {slot: 3}
    assert index.match(chain(b"abcy")) == {slot: 4}


def test_a_use_is_known_where_a_prompt_ended_or_left_another():
    index = PrefixIndex(100)
    slot = index.acquire()
    index.record(slot, chain(b"abc"), 1.0)
    index.record(slot, chain(b"abcde"), 2.0)
    index.record(slot, chain(b"abcdx"), 3.0)
    assert [index.last_used(slot, key) for key in chain(b"abcde")] == [None, None, 3.0, 3.0, 2.0]
    assert index.last_used(slot, chain(b"q")[0]) is None


def test_the_next_to_go_is_young_where_much_passes_through():
    index = PrefixIndex(100)
    slot = index.acquire()
    index.set_capacity(slot, 4)
    index.record(slot, chain(b"abc"), 10.0)
    assert index.oldest_age(slot, 15.0) is None
    index.record(slot, chain(b"xyz"), 20.0)
    assert index.oldest_age(slot, 25.0) == 15.0
    index.record(slot, chain(b"xyzw"), 30.0)
    assert index.oldest_age(slot, 35.0) == 5.0


def test_a_prompt_that_is_sent_again_and_again_costs_nothing():
    index = PrefixIndex(100_000)
    slot = index.acquire()
    keys = chain(bytes(100))
    index.record(slot, chain(b"first"))
    tracemalloc.start()
    try:
        index.record(slot, keys)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            index.record(slot, keys)
        assert tracemalloc.get_traced_memory()[0] - before < 10_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("blocks_a_prompt", [1, 100])
def test_memory_of_an_entry(blocks_a_prompt):
    draw = random.Random(1).getrandbits
    index = PrefixIndex(100_000)
    slot = index.acquire()
    tracemalloc.start()
    try:
        for _ in range(
            150_000 // blocks_a_prompt
        ):  # one and a half times over: what it holds has been replaced
            index.record(slot, [draw(64) for _ in range(blocks_a_prompt)])
        assert len(index) == 100_000
        assert tracemalloc.get_traced_memory()[0] <= 256 * len(index)
    finally:
        tracemalloc.stop()


def test_nothing_to_match():
    index = PrefixIndex(10)
    index.acquire()
    assert index.match([]) == {}
    assert index.match([1]) == {}
