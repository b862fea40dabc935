"""Which replica is believed to hold which prefix.

One map `block key -> bitmask of replicas`, and per replica its keys in the order of last use. A prompt's
keys are chained, so a replica's match ends at its first missing block: look-up is one pass over the prompt's
blocks, whatever the number of replicas. Each replica's share is bounded by what its engine can hold, and the
whole by `max_blocks`; the least recently used goes first, a chain's tail before its head, as the engine evicts.
"""

from collections import OrderedDict
from collections.abc import Sequence

from balancer.core.types import BlockKey


class PrefixIndex:
    """Replicas are slots (small integers, reused after `release`)."""

    def __init__(self, max_blocks: int) -> None:
        self.max_blocks = max_blocks
        self._replicas_of: dict[BlockKey, int] = {}
        # OrderedDict: taking the oldest out of a plain dict again and again walks over its dead entries
        self._held: dict[int, OrderedDict[BlockKey, None]] = {}
        self._capacity: dict[int, int] = {}
        self._entries = 0

    def __repr__(self) -> str:
        shares = ", ".join(f"{slot}: {len(held)}" for slot, held in self._held.items())
        return f"<PrefixIndex {len(self._replicas_of)} blocks, {self._entries}/{self.max_blocks} entries; {shares}>"

    def __len__(self) -> int:
        """Entries: one per block and replica."""
        return self._entries

    def acquire(self) -> int:
        """A free slot for a new replica."""
        slot = 0
        while slot in self._held:
            slot += 1
        self._held[slot] = OrderedDict()
        return slot

    def release(self, slot: int) -> None:
        """The replica has left: forget all it held, in time proportional to that."""
        self.clear(slot)
        del self._held[slot]
        self._capacity.pop(slot, None)

    def clear(self, slot: int) -> None:
        """The replica restarted, slept or was reset: it holds nothing."""
        held, self._held[slot] = self._held[slot], OrderedDict()
        for key in held:
            self._drop(slot, key)

    def set_capacity(self, slot: int, blocks: int | None) -> None:
        """How many blocks the replica's KV cache can hold; None: not known, bounded by the whole alone."""
        if blocks is None:
            self._capacity.pop(slot, None)
        else:
            self._capacity[slot] = max(1, blocks)
            self._shrink(slot, self._capacity[slot])

    def held_blocks(self, slot: int) -> int:
        return len(self._held[slot])

    def match(self, keys: Sequence[BlockKey]) -> dict[int, int]:
        """Slot -> number of leading blocks it holds; slots that hold none are left out."""
        replicas_of = self._replicas_of
        matched: dict[int, int] = {}
        holding = -1
        depth = 0
        for key in keys:
            still = holding & replicas_of.get(key, 0)
            if still != holding:
                if depth:
                    _record(matched, holding & ~still, depth)
                holding = still
                if not holding:
                    return matched
            depth += 1
        if depth:
            _record(matched, holding, depth)
        return matched

    def record(self, slot: int, keys: Sequence[BlockKey]) -> None:
        """The replica was sent this prompt and will hold it: newest use, head of the chain newest of all."""
        held = self._held[slot]
        replicas_of = self._replicas_of
        bit = 1 << slot
        before = len(held)
        for key in reversed(keys):
            if key in held:
                held.move_to_end(key)
            else:
                replicas_of[key] = replicas_of.get(key, 0) | bit
                held[key] = None
        self._entries += len(held) - before
        self._shrink(slot, self._capacity.get(slot, self.max_blocks))
        if self._entries > self.max_blocks:
            self._shrink_largest()

    def _shrink(self, slot: int, blocks: int) -> None:
        held = self._held[slot]
        while len(held) > blocks:
            key, _ = held.popitem(last=False)
            self._drop(slot, key)

    def _shrink_largest(self) -> None:
        slot = max(self._held, key=lambda s: len(self._held[s]))
        self._shrink(slot, len(self._held[slot]) - (self._entries - self.max_blocks))

    def _drop(self, slot: int, key: BlockKey) -> None:
        self._entries -= 1
        left = self._replicas_of[key] & ~(1 << slot)
        if left:
            self._replicas_of[key] = left
        else:
            del self._replicas_of[key]


def _record(matched: dict[int, int], mask: int, depth: int) -> None:
    while mask:
        low = mask & -mask
        matched[low.bit_length() - 1] = depth
        mask ^= low
