"""The paged KV cache: block hashes, and the pool of blocks that sequences share through them.

A full block is known by a chained hash: of its tokens, seeded with its parent's hash, so that equal hashes mean equal
prefixes. Only hashes and counts live here; which sequence wants which block is the scheduler's business.

Every block of the pool is exactly one of: free (no content), idle (cached, unreferenced, evictable in LRU order), held
(cached and referenced) or private (in use, not cached: partly filled, or a second copy of a cached block).
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import xxhash


def hash_root(*, model: str, lora: str | None = None, cache_salt: str | None = None) -> int:
    """The parent of a first block. What must not share blocks differs here; vLLM puts the same into its hashes."""
    return xxhash.xxh3_64_intdigest("\x00".join((model, lora or "", cache_salt or "")).encode())


def hash_blocks(tokens: Sequence[int], block_size: int, root: int) -> list[int]:
    """The chained hashes of the full blocks of `tokens` (each below 2**32)."""
    data = array("I", tokens).tobytes()
    width = 4 * block_size
    digest = xxhash.xxh3_64_intdigest
    hashes = []
    parent = root
    for start in range(0, len(data) - width + 1, width):
        parent = digest(data[start : start + width], seed=parent)
        hashes.append(parent)
    return hashes


class BlockPool:
    """A fixed number of blocks, with a prefix cache over those that are full."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.free = total
        self.private = 0
        self.stored: list[int] = []  # hashes cached, and hashes evicted, since somebody last took the lists
        self.evicted: list[int] = []
        self._references: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    def __repr__(self) -> str:
        return (
            f"<BlockPool total={self.total} free={self.free} idle={self.idle}"
            f" held={self.held} private={self.private}>"
        )

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def held(self) -> int:
        return len(self._references) - len(self._idle)

    @property
    def available(self) -> int:
        """Blocks that can be had now, by eviction if need be."""
        return self.free + len(self._idle)

    @property
    def usage(self) -> float:
        """The share of blocks that running sequences hold, 0 to 1, as vLLM's `kv_cache_usage_perc`."""
        return 1.0 - self.available / self.total

    def match(self, hashes: Sequence[int], limit: int) -> int:
        """How many leading blocks of `hashes` are cached, `limit` at most. Changes nothing."""
        matched = 0
        for key in hashes[:limit]:
            if key not in self._references:
                break
            matched += 1
        return matched

    def reference(self, hashes: Iterable[int]) -> None:
        """Take one reference to each of these cached blocks."""
        for key in hashes:
            count = self._references[key]
            if count == 0:
                del self._idle[key]
            self._references[key] = count + 1

    def allocate(self, count: int) -> bool:
        """Turn `count` blocks into private ones, evicting the least recently used; all of them or none."""
        if count > self.available:
            return False
        while self.free < count:
            key, _ = self._idle.popitem(last=False)
            del self._references[key]
            self.evicted.append(key)
            self.free += 1
        self.free -= count
        self.private += count
        return True

    def seal(self, key: int) -> bool:
        """Cache a private block that is now full. False if its content is cached already: the copy stays private."""
        if key in self._references:
            return False
        self._references[key] = 1
        self.private -= 1
        self.stored.append(key)
        return True

    def release(self, held: list[int], private: int) -> None:
        """Give back references, in the order of the sequence, and private blocks.

        The last block goes to the old end of the LRU order: a prefix is worth more than what follows it.
        """
        self.private -= private
        self.free += private
        for key in reversed(held):
            count = self._references[key] - 1
            self._references[key] = count
            if count == 0:
                self._idle[key] = None

    def reset(self) -> bool:
        """Forget every cached block. As in vLLM, only while no sequence holds any block."""
        if self.held or self.private:
            return False
        self.evicted.extend(self._idle)
        self._idle.clear()
        self._references.clear()
        self.free = self.total
        return True
