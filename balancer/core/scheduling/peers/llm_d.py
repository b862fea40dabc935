"""llm-d's router: the weighted blend that it shipped until August 2026, and "sticky until saturated", its default since.

Blend (llm-d-router ebab6879 of 2026-08-22, scorers prefix, queuedepth and kvcacheutilization; weights 3:2:2 as its chart and
llm-d-kv-cache's benchmarking/73-capacity have them):

    score_i = 3 * matched_i / blocks + 2 * (most - queue_i) / (most - least) + 2 * (1 - kv_usage_i),  highest wins

queue (waiting requests) and KV usage are those last polled. A replica that has not told, or not lately, counts as the worst
of those that have; llm-d takes it for idle.

Sticky (same commit, prefix-cache-affinity-filter and token-load-scorer):

    warm = replicas that hold at least 0.8 of the prompt's blocks
    all replicas, if none is warm, or if (least Q of the warm - least Q of the cold) / R > 18 s; else the warm ones
    of these the lowest Q_i + uncached_i

Q: uncached tokens sent and not yet at their first token (at their end, if the answer doesn't stream). R: 15,928 prefill
tokens/s, measured for Qwen3-32B on two H100 with vLLM 0.19; it is llm-d's default and not learned, so the gate opens
at a difference of 286,704 tokens on any hardware.
"""

from collections.abc import Sequence
from itertools import compress
from typing import ClassVar

from balancer.core.fleet.replica import SAMPLE_MAX_AGE_S, ReplicaState
from balancer.core.scheduling.indexed import matched_tokens, uncached_tokens
from balancer.core.scheduling.peers.lowest_cost import LowestCost
from balancer.core.types import BlockKey, Decision, EngineSample, RequestView

WARM_SHARE = 0.8
TOLERATED_WAIT_S = 18.0
PEAK_PREFILL_TOKENS_PER_S = 15_928.0


class LlmdBlend(LowestCost):
    name: ClassVar[str] = "llm_d_322"
    weights: ClassVar[tuple[float, float, float]] = (3, 2, 2)

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        prefix, queue, kv = self.weights
        blocks = self._matched_blocks(self._looked_up(request), replicas)
        whole = max(1, len(request.block_keys))
        samples = [_fresh(replica.sample, now) for replica in replicas]
        waiting = _worst_if_unknown([None if sample is None else sample.waiting for sample in samples])
        usage = _worst_if_unknown([None if sample is None else sample.kv_usage for sample in samples])
        most = max(waiting)
        spread = most - min(waiting)
        costs = [
            -prefix * hit / whole - queue * ((most - queued) / spread if spread else 1.0) - kv * (1 - used)
            for hit, queued, used in zip(blocks, waiting, usage, strict=True)
        ]
        matched = [matched_tokens(request, hit) for hit in blocks]
        return self._lowest(request, replicas, matched, costs, "highest_score")

    def _looked_up(self, request: RequestView) -> Sequence[BlockKey]:
        return request.block_keys


class LlmdSticky(LowestCost):
    name: ClassVar[str] = "llm_d_sticky"

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        blocks = self._matched_blocks(request.block_keys, replicas)
        enough = WARM_SHARE * max(1, len(request.block_keys))
        warm = [hit >= enough for hit in blocks]
        matched = [matched_tokens(request, hit) for hit in blocks]
        costs = [
            replica.pending_tokens + uncached_tokens(request, hit)
            for replica, hit in zip(replicas, matched, strict=True)
        ]
        if not any(warm):
            return self._lowest(request, replicas, matched, costs, "cold")
        if _saturated(warm, replicas):
            return self._lowest(request, replicas, matched, costs, "saturated")
        kept = list(compress(replicas, warm)), list(compress(matched, warm)), list(compress(costs, warm))
        return self._lowest(request, *kept, "sticky")


def _saturated(warm: Sequence[bool], replicas: Sequence[ReplicaState]) -> bool:
    """Whether the best of the warm would begin so much later than the best of the cold that it isn't worth it."""
    waits_s = [replica.pending_tokens / PEAK_PREFILL_TOKENS_PER_S for replica in replicas]
    cold_s = [wait_s for wait_s, is_warm in zip(waits_s, warm, strict=True) if not is_warm]
    return bool(cold_s) and min(compress(waits_s, warm)) - min(cold_s) > TOLERATED_WAIT_S


def _fresh(sample: EngineSample | None, now: float) -> EngineSample | None:
    return sample if sample is not None and now - sample.taken_at <= SAMPLE_MAX_AGE_S else None


def _worst_if_unknown(told: Sequence[float | None]) -> list[float]:
    worst = max((value for value in told if value is not None), default=0.0)
    return [worst if value is None else value for value in told]
