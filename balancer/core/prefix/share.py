"""What one replica is believed to hold, as chains in the order of their use, and which block goes next.

A prompt uses its chain from the first block on, so no block was used later than the one before it: what is held are
whole beginnings of chains, the order of blocks is that of chains, and of one chain the tail goes before the head.
A later chain takes over the blocks that earlier ones have in common with it. These are their beginnings, up to a joint:

    joint: a block at which some chain ended, or left another one

Only joints are marked with their last use. Between two of them there is one way, so a block that is no joint was last
used with the next joint behind it; and what a chain still owns are its blocks behind the last joint that was used later.

It costs 8 bytes a block in the queue, and for each chain its place in the queue and a joint or two.
"""

from array import array
from collections import deque
from collections.abc import Sequence

from balancer.core.prefix.table import SHARD_SHIFT, Table
from balancer.core.types import BlockKey


class Chains:
    """Packed chains, each with the stamp of its use, in that order."""

    __slots__ = ("packed", "stamps")

    def __init__(self) -> None:
        self.stamps: deque[float] = deque()
        self.packed: deque[bytes] = deque()

    def append(self, stamp: float, chain: Sequence[BlockKey]) -> None:
        self.stamps.append(stamp)
        self.packed.append(array("Q", chain).tobytes())

    def first(self) -> memoryview:
        return memoryview(self.packed[0]).cast("Q")

    def popleft(self) -> None:
        self.stamps.popleft()
        self.packed.popleft()


class Share:
    """`held` counts blocks; `oldest` is the last use of the block that goes next. A stamp is the time of a use; each is
    later than all before it.
    """

    __slots__ = ("_joints", "_queue", "_queued", "_swept", "held", "oldest")

    def __init__(self) -> None:
        self._joints: Table[float] = Table()
        self._swept = Chains()  # used before all in the queue
        self._queue = Chains()
        self._queued = 0  # blocks in both, those taken over included
        self.held = 0
        self.oldest: float | None = None

    def __repr__(self) -> str:
        return f"<Share of {self.held} blocks, {self._queued} queued, oldest {self.oldest}>"

    def last_used(self, key: BlockKey) -> float | None:
        """None if the block is not held, or is no joint."""
        return self._joints.shards[key >> SHARD_SHIFT].get(key)

    def use(self, keys: Sequence[BlockKey], known: int, stamp: float) -> None:
        """The chain is used now; its first `known` blocks were held."""
        joints = self._joints.shards
        for key in keys[:known]:
            shard = joints[key >> SHARD_SHIFT]
            if key in shard:
                shard[key] = stamp
        for end in {known, len(keys)} - {0}:
            key = keys[end - 1]
            joints[key >> SHARD_SHIFT][key] = stamp
        self.held += len(keys) - known
        self._queue.append(stamp, keys)
        self._queued += len(keys)
        if self._queued > 2 * self.held:
            self._sweep(2 * len(keys))
        self._settle()

    def evict(self, blocks: int) -> list[BlockKey]:
        """Forget so many blocks, or all there are. Returns them in the order in which they went."""
        gone: list[BlockKey] = []
        while len(gone) < blocks and self.oldest is not None:
            chains = self._swept if self._swept.stamps else self._queue
            chain = chains.first()
            own = self._own(chain, self.oldest, blocks - len(gone))
            going = chain[len(chain) - own :].tolist()
            going.reverse()
            gone += going
            chains.packed[0] = chains.packed[0][: -own * chain.itemsize]
            self._queued -= own
            self._unmark(going)
            self._settle()
        self.held -= len(gone)
        return gone

    def _own(self, chain: memoryview, stamp: float, most: int) -> int:
        """How many blocks of the chain no later one has taken over; `most` if there are more."""
        joints = self._joints.shards
        own = 0
        for key in reversed(chain):
            if own == most or joints[key >> SHARD_SHIFT].get(key, stamp) != stamp:
                break
            own += 1
        return own

    def _unmark(self, keys: Sequence[BlockKey]) -> None:
        joints = self._joints.shards
        for key in keys:
            joints[key >> SHARD_SHIFT].pop(key, None)
        self._joints.removed(len(keys))

    def _settle(self) -> None:
        """Drop the first chains for as long as they own nothing."""
        while (chains := self._swept if self._swept.stamps else self._queue).stamps:
            stamp, chain = chains.stamps[0], chains.first()
            if self._own(chain, stamp, 1):
                self.oldest = stamp
                return
            self._queued -= len(chain)
            chains.popleft()
        self.oldest = None

    def _sweep(self, blocks: int) -> None:
        """Cut the next chains, of about so many blocks in all, down to what they own."""
        while blocks > 0 and self._queue.stamps:
            stamp, chain = self._queue.stamps[0], self._queue.first()
            own = self._own(chain, stamp, len(chain))
            if own:
                self._swept.append(stamp, chain[len(chain) - own :])
            self._queue.popleft()
            self._queued -= len(chain) - own
            blocks -= len(chain)
        if not self._queue.stamps:
            self._swept, self._queue = self._queue, self._swept
