"""Variants of the peers' rules that are worth a comparison and no setting.

`llm_d_111`: llm-d's approximate form, with equal weights and an index of a fixed size that is the router's own history (31,250
blocks a server, at most 256 blocks matched; llm-d-kv-cache, benchmarking/73-capacity).
`lmetric_np`: LMetric without the queued tokens in its first factor.
"""

from collections.abc import Sequence
from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling.peers import LlmdBlend, LMetric
from balancer.core.types import BlockKey, RequestView

MOST_MATCHED_BLOCKS = 256
INDEX_BLOCKS_PER_REPLICA = 31_250


class LlmdApproximate(LlmdBlend):
    name: ClassVar[str] = "llm_d_111"
    weights: ClassVar[tuple[float, float, float]] = (1, 1, 1)

    def joined(self, replica: ReplicaState) -> None:
        super().joined(replica)
        self._index.set_capacity(replica.slot, INDEX_BLOCKS_PER_REPLICA)

    def sized(self, replica: ReplicaState, kv_capacity_tokens: int) -> None:
        """The index keeps its size, whatever the engine's."""

    def _looked_up(self, request: RequestView) -> Sequence[BlockKey]:
        return request.block_keys[:MOST_MATCHED_BLOCKS]


class LMetricNoQueue(LMetric):
    name: ClassVar[str] = "lmetric_np"

    def _prefill_tokens(self, replica: ReplicaState, uncached: int) -> int:
        return uncached
