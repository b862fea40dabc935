"""Which replica is believed to hold which prefix.

One map `block key -> bitmask of replicas`, and per replica a share: its keys and which of them goes next (share.py).
A prompt's keys are chained and a share holds whole beginnings of chains, so the masks along a prompt only ever lose
bits: look-up searches for the few depths at which they do, whatever the number of replicas and nearly whatever the
length of the prompt. Each share is bounded by what its engine can hold, and the whole by `max_blocks`; the least
recently used goes first, a chain's tail before its head, as the engine evicts.
"""

from bisect import bisect_left
from collections.abc import Sequence
from math import inf, nextafter

from balancer.core.prefix.share import Share
from balancer.core.prefix.table import SHARD_SHIFT, Table
from balancer.core.types import BlockKey


class PrefixIndex:
    """Replicas are slots (small integers, reused after `release`)."""

    def __init__(self, max_blocks: int) -> None:
        self.max_blocks = max_blocks
        self._replicas_of: Table[int] = Table()
        self._shares: dict[int, Share] = {}
        self._capacity: dict[int, int] = {}
        self._entries = 0
        self._stamp = -inf

    def __repr__(self) -> str:
        shares = ", ".join(f"{slot}: {share.held}" for slot, share in self._shares.items())
        return f"<PrefixIndex {len(self._replicas_of)} blocks, {self._entries}/{self.max_blocks} entries; {shares}>"

    def __len__(self) -> int:
        """Entries: one per block and replica."""
        return self._entries

    def acquire(self) -> int:
        """A free slot for a new replica."""
        slot = 0
        while slot in self._shares:
            slot += 1
        self._shares[slot] = Share()
        return slot

    def release(self, slot: int) -> None:
        """The replica has left: forget all it held, in time proportional to that."""
        self.clear(slot)
        del self._shares[slot]
        self._capacity.pop(slot, None)

    def clear(self, slot: int) -> None:
        """The replica restarted, slept or was reset: it holds nothing."""
        self._shrink(slot, 0)

    def set_capacity(self, slot: int, blocks: int | None) -> None:
        """How many blocks the replica's KV cache can hold; None: not known, bounded by the whole alone."""
        if blocks is None:
            self._capacity.pop(slot, None)
        else:
            self._capacity[slot] = max(1, blocks)
            self._shrink(slot, self._capacity[slot])

    def held_blocks(self, slot: int) -> int:
        return self._shares[slot].held

    def last_used(self, slot: int, key: BlockKey) -> float | None:
        """When the replica was last sent a prompt with this block; None if it does not hold it, or if no prompt of its has
        ended or left another one there: what follows such a block is not looked at, and may have been used since.
        """
        return self._shares[slot].last_used(key)

    def oldest_age(self, slot: int, now: float) -> float | None:
        """Seconds since the last use of the block that the next new one pushes out; None while there is room."""
        share = self._shares[slot]
        capacity = self._capacity.get(slot)
        full = self._entries >= self.max_blocks if capacity is None else share.held >= capacity
        return now - share.oldest if full and share.oldest is not None else None

    def match(self, keys: Sequence[BlockKey]) -> dict[int, int]:
        """Slot -> number of leading blocks it holds; slots that hold none are left out."""
        matched: dict[int, int] = {}
        depth, holding = 0, -1  # to hold nothing, everyone does
        ahead = [(len(keys) + 1, 0)]  # depths looked at and who holds so much, the nearest last
        while holding:
            deeper, left = ahead[-1]
            if left == holding:
                depth, _ = ahead.pop()
            elif deeper - depth > 1:
                middle = (depth + deeper) // 2
                key = keys[middle - 1]
                ahead.append((middle, self._replicas_of.shards[key >> SHARD_SHIFT].get(key, 0)))
            else:
                if depth:
                    _note(matched, holding & ~left, depth)
                depth, holding = ahead.pop()
        return matched

    def record(self, slot: int, keys: Sequence[BlockKey], now: float = 0.0) -> None:
        """The replica was sent this prompt and will hold it: newest use, head of the chain newest of all."""
        if not keys:
            return
        share, bit, shards = self._shares[slot], 1 << slot, self._replicas_of.shards
        known = bisect_left(keys, 1, key=lambda key: not shards[key >> SHARD_SHIFT].get(key, 0) & bit)
        for key in keys[known:]:
            replicas_of = shards[key >> SHARD_SHIFT]
            replicas_of[key] = replicas_of[key] | bit if key in replicas_of else bit
        # the time, moved up by the least step where it is that of the last use
        self._stamp = max(now, nextafter(self._stamp, inf))
        share.use(keys, known, self._stamp)
        self._entries += len(keys) - known
        self._shrink(slot, self._capacity.get(slot, self.max_blocks))
        if self._entries > self.max_blocks:
            largest = max(self._shares, key=lambda slot: self._shares[slot].held)
            self._shrink(largest, self._shares[largest].held - (self._entries - self.max_blocks))

    def _shrink(self, slot: int, blocks: int) -> None:
        share = self._shares[slot]
        if share.held <= blocks:
            return
        gone = share.evict(share.held - blocks)
        others, shards = ~(1 << slot), self._replicas_of.shards
        for key in gone:
            replicas_of = shards[key >> SHARD_SHIFT]
            left = replicas_of[key] & others
            if left:
                replicas_of[key] = left
            else:
                del replicas_of[key]
        self._replicas_of.removed(len(gone))
        self._entries -= len(gone)


def _note(matched: dict[int, int], mask: int, depth: int) -> None:
    while mask:
        low = mask & -mask
        matched[low.bit_length() - 1] = depth
        mask ^= low
