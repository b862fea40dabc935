"""The index against the same thing said naively."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from balancer.core.prefix.index import PrefixIndex

KEYS = st.lists(st.integers(0, 12), unique=True, max_size=8)
MAX_BLOCKS = 20


class Naive:
    """Per slot: keys, least recently used first."""

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

    def record(self, slot, keys):
        held = self.held[slot]
        for key in reversed(keys):
            if key in held:
                held.remove(key)
            held.append(key)
        self._bound(slot, self.capacity.get(slot, self.max_blocks))
        total = sum(map(len, self.held.values()))
        if total > self.max_blocks:
            largest = max(self.held, key=lambda s: len(self.held[s]))
            self._bound(largest, len(self.held[largest]) - (total - self.max_blocks))

    def _bound(self, slot, blocks):
        held = self.held[slot]
        del held[: max(0, len(held) - blocks)]

    def set_capacity(self, slot, blocks):
        self.capacity[slot] = blocks
        self._bound(slot, blocks)


class AgainstNaive(RuleBasedStateMachine):
    @initialize()
    def start(self):
        self.index, self.naive = PrefixIndex(MAX_BLOCKS), Naive(MAX_BLOCKS)
        self.slots = []

    @precondition(lambda self: len(self.slots) < 4)
    @rule()
    def acquire(self):
        slot = self.index.acquire()
        assert slot not in self.slots
        self.slots.append(slot)
        self.naive.held[slot] = []

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def release(self, data):
        slot = data.draw(st.sampled_from(self.slots))
        self.index.release(slot)
        self.slots.remove(slot)
        del self.naive.held[slot]
        self.naive.capacity.pop(slot, None)

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), keys=KEYS)
    def record(self, data, keys):
        slot = data.draw(st.sampled_from(self.slots))
        # both forget from the largest share; which of two equal ones is nobody's promise, but the same here
        self.index.record(slot, keys)
        self.naive.record(slot, keys)

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def clear(self, data):
        slot = data.draw(st.sampled_from(self.slots))
        self.index.clear(slot)
        self.naive.held[slot] = []

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
        naive.held[index.acquire()] = []
    for slot, recorded in records:
        index.record(slot, recorded)
        naive.record(slot, recorded)
    assert index.match(keys) == naive.match(keys)


def test_nothing_to_match():
    index = PrefixIndex(10)
    index.acquire()
    assert index.match([]) == {}
    assert index.match([1]) == {}
