"""A dictionary of block keys that neither pauses to grow nor keeps the room it no longer needs.

CPython's dict doubles in one go, which at a million keys takes tens of milliseconds, and where keys come and go it
takes three to six places for each. So keys are spread over small dictionaries by their upper bits, and these are
copied, which packs them, one by one as keys are removed.
"""

from typing import Generic, TypeVar

from balancer.core.types import BlockKey

V = TypeVar("V")

SHARDS = 256
SHARD_SHIFT = 56
"""Keys have 64 bits: `shards[key >> SHARD_SHIFT]` is where one belongs."""


class Table(Generic[V]):
    """Callers read and write `shards` themselves (a call for each key would cost more than the key) and tell `removed`
    what they took out.
    """

    __slots__ = ("_next", "_removed", "shards")

    def __init__(self) -> None:
        self.shards: list[dict[BlockKey, V]] = [{} for _ in range(SHARDS)]
        self._removed = 0
        self._next = 0

    def __len__(self) -> int:
        return sum(map(len, self.shards))

    def removed(self, keys: int) -> None:
        """So many keys were deleted: pack the next shard, if a quarter of one may have gone since the last."""
        self._removed += keys
        if 4 * self._removed > len(self.shards[self._next]):
            self.shards[self._next] = dict(self.shards[self._next])
            self._next = (self._next + 1) % SHARDS
            self._removed = 0
