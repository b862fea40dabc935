"""Chains of block keys, of which only what is new is written.

    written = place of the last key that the reader knows, and the 8 bytes of each key behind it

Each key has a place, from 1 on, when it is first written; 0 is the beginning of every chain. Keys are chained, so with one the
reader knows all before it, and halving finds how many are known.

Memory is bounded on both sides by generations: GENERATION keys, and those of the generation before. A chain that is used again
moves from the old generation into the young one, whole, for the 5 bytes of its place; one that is not used for a generation is
forgotten, and written again if it comes back. Both sides count alike, so nothing is said of it.
"""

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import repeat

from balancer.core.types import BlockKey

GENERATION = 1 << 18
"""About 20 MiB of a writer's memory, twice."""

_SWAPPED = sys.byteorder == "big"


class ChainWriter:
    """Of each key that it knows, how far its place is from its depth in a chain: the keys of one run share one number."""

    def __init__(self, generation: int = GENERATION) -> None:
        self._generation = generation
        self._young: dict[BlockKey, int] = {}
        self._old: dict[BlockKey, int] = {}
        self._count = 0
        self._since = 0

    def write(self, keys: Sequence[BlockKey]) -> tuple[int, bytes]:
        """The place of the last known key, and the new ones."""
        if not keys:
            return 0, b""
        young, length = self._young, len(keys)
        known = bisect_left(keys, True, key=lambda key: key not in young)
        if known == length:
            return young[keys[-1]] + length, b""
        old, own_from, new_from = self._old, known, known
        place = young[keys[known - 1]] + known if known else 0
        if keys[known] in old:
            new_from = bisect_left(keys, True, known, key=lambda key: key not in old)
            place, own_from = old[keys[new_from - 1]] + new_from, 0
        young.update(zip(keys[own_from:], repeat(self._count - own_from), strict=False))
        self._count += length - own_from
        if self._count - self._since >= self._generation:
            self._old, self._young, self._since = young, {}, self._count
        return place, _packed(keys[new_from:])


class ChainReader:
    def __init__(self, generation: int = GENERATION) -> None:
        self._generation = generation
        self._young = _Parts()
        self._old = _Parts()
        self._count = 0
        self._since = 0

    def read(self, place: int, packed: bytes) -> list[BlockKey]:
        """The chain. Raises: ValueError, if no writer wrote this here."""
        known = self._through(place)
        if not packed and place > self._since:
            return known
        new = _unpacked(packed)
        keys = known + new
        if not keys:
            return keys
        kept = place > self._since  # else it moves into the young generation
        self._young.add(self._count + 1, place if kept else 0, new if kept else keys)
        self._count += len(new if kept else keys)
        if self._count - self._since >= self._generation:
            self._old, self._young, self._since = self._young, _Parts(), self._count
        return keys

    def _through(self, place: int) -> list[BlockKey]:
        pieces: list[list[BlockKey]] = []
        while place:
            pieces_of = self._young if place > self._since else self._old
            before, piece = pieces_of.find(place)
            pieces.append(piece)
            place = before
        if len(pieces) == 1:
            return pieces[0]
        return [key for piece in reversed(pieces) for key in piece]


class _Parts:
    """Runs of keys whose places follow each other, each with the place that it goes on from."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._parts: list[tuple[int, list[BlockKey]]] = []

    def add(self, first: int, before: int, keys: list[BlockKey]) -> None:
        self._firsts.append(first)
        self._parts.append((before, keys))

    def find(self, place: int) -> tuple[int, list[BlockKey]]:
        """What the run with this place goes on from, and its keys up to there."""
        at = bisect_right(self._firsts, place) - 1
        if at < 0:
            raise ValueError("a chain that goes on from one that is not there")
        before, keys = self._parts[at]
        most = place - self._firsts[at] + 1
        if most > len(keys) or before >= self._firsts[at]:
            raise ValueError("a chain that goes on from one that is not there")
        return before, keys[:most]


def _packed(keys: Sequence[BlockKey]) -> bytes:
    packed = array("Q", keys)
    if _SWAPPED:
        packed.byteswap()
    return packed.tobytes()


def _unpacked(packed: bytes) -> list[BlockKey]:
    keys = array("Q")
    keys.frombytes(packed)
    if _SWAPPED:
        keys.byteswap()
    return keys.tolist()
