"""What every policy with a prefix index does with it: a slot for each replica, what was sent there, how much it holds."""

from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.prefix.blocks import BLOCK_BYTES
from balancer.core.prefix.index import PrefixIndex
from balancer.core.request.tokens import estimate_tokens
from balancer.core.scheduling.charge import Charge
from balancer.core.scheduling.policy import Policy
from balancer.core.types import Reads

BLOCK_TOKENS = estimate_tokens(BLOCK_BYTES)


class Indexed(Policy):
    reads: ClassVar[Reads] = Reads.PROMPT

    def __init__(self, index: PrefixIndex) -> None:
        self._index = index

    def joined(self, replica: ReplicaState) -> None:
        replica.slot = self._index.acquire()

    def left(self, replica: ReplicaState) -> None:
        self._index.release(replica.slot)

    def dispatched(self, charge: Charge, now: float) -> None:
        self._index.record(charge.replica.slot, charge.request.block_keys, now)

    def forgot(self, replica: ReplicaState) -> None:
        self._index.clear(replica.slot)

    def sized(self, replica: ReplicaState, kv_capacity_tokens: int) -> None:
        self._index.set_capacity(replica.slot, kv_capacity_tokens // BLOCK_TOKENS)
