"""SGLang's gateway and vllm-router, `cache_aware`.

    imbalanced, i.e. most - least > 64 and most > 1.5 * least:    the fewest requests in flight
    else, longest match > 0.3 * prompt:                           the longest match
    else:                                                         the smallest tree

sgl-model-gateway and vllm-router, src/policies/cache_aware.rs; values as vllm-router's command line has them (0.1.17,
August 2026). Its trees hold characters, one for each worker, at most 2^26; here they are blocks of 256 bytes. Theirs are cut
back every 120 s, ours as soon as they overgrow, which spares the sweep. Like theirs they do not know how much an engine
holds. Since 2026 both take the fewest requests in the third case: the smallest tree may be that of a worker that is stuck, or
has just restarted (sgl-project/sglang#14532).
"""

from collections.abc import Sequence
from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.prefix.blocks import BLOCK_BYTES
from balancer.core.scheduling.peers.lowest_cost import LowestCost
from balancer.core.types import Decision, RequestView

IMBALANCE_REQUESTS = 64
IMBALANCE_RATIO = 1.5
MATCH_THRESHOLD = 0.3
TREE_BLOCKS = 2**26 // BLOCK_BYTES


class SglangCacheAware(LowestCost):
    name: ClassVar[str] = "sglang_cache_aware"

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        matched = self._matched_tokens(request, replicas)
        loads = [replica.in_flight for replica in replicas]
        most, least = max(loads), min(loads)
        if most - least > IMBALANCE_REQUESTS and most > IMBALANCE_RATIO * least:
            return self._lowest(request, replicas, matched, loads, "imbalanced")
        if not request.block_keys:
            return self._lowest(request, replicas, matched, loads, "nothing_to_match")
        if max(matched) > MATCH_THRESHOLD * request.prompt_tokens:
            return self._lowest(request, replicas, matched, [-hit for hit in matched], "longest_match")
        sizes = [self._index.held_blocks(replica.slot) for replica in replicas]
        return self._lowest(request, replicas, matched, sizes, "smallest_tree")

    def joined(self, replica: ReplicaState) -> None:
        super().joined(replica)
        self._index.set_capacity(replica.slot, TREE_BLOCKS)

    def sized(self, replica: ReplicaState, kv_capacity_tokens: int) -> None:
        """Not its business."""
