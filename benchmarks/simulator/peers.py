"""Other routers' rules, from their public sources, for comparison.

llm-d's weighted scorers (llm-d-inference-scheduler; weights as in llm-d-kv-cache, benchmarking/73-capacity):

    score_i = a * matched / blocks + b * (most - queue_i) / (most - least) + c * (1 - kv_usage_i),  highest wins

with queue (waiting requests) and KV usage as last polled. The 1:1:1 blend is its approximate form, whose index is the
router's own history (31,250 blocks of 64 tokens a server, at most 256 blocks matched); 3:2:2 the one it shipped.
"""

from collections.abc import Sequence
from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling import Indexed, Rng
from balancer.core.scheduling.indexed import BLOCK_TOKENS
from balancer.core.types import Candidate, Decision, RequestView

MOST_MATCHED_BLOCKS = 256
INDEX_BLOCKS_PER_REPLICA = 31_250


class LlmdBlend(Indexed):
    """`approximate`: the index has llm-d's fixed size; else the engine's."""

    name: ClassVar[str] = "llm_d"

    def __init__(
        self, index: PrefixIndex, rng: Rng, prefix: float, queue: float, kv: float, *, approximate: bool
    ) -> None:
        super().__init__(index)
        self._rng = rng
        self._weights = (prefix, queue, kv)
        self._approximate = approximate

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        prefix, queue, kv = self._weights
        keys = request.block_keys[:MOST_MATCHED_BLOCKS] if self._approximate else request.block_keys
        matched = self._index.match(keys)
        waiting = [(replica.sample and replica.sample.waiting) or 0.0 for replica in replicas]
        least, most = min(waiting), max(waiting)
        candidates = []
        best: tuple[float, float] | None = None
        chosen, hit = replicas[0], 0
        for replica, queued in zip(replicas, waiting, strict=True):
            blocks = matched.get(replica.slot, 0)
            usage = (replica.sample and replica.sample.kv_usage) or 0.0
            score = prefix * blocks / max(1, len(request.block_keys)) + kv * (1 - usage)
            score += queue * (1.0 if most == least else (most - queued) / (most - least))
            tokens = min(blocks * BLOCK_TOKENS, request.prompt_tokens)
            candidates.append(
                Candidate(replica.id, -score, tokens, replica.in_flight, replica.pending_tokens)
            )
            rank = (-score, self._rng())
            if best is None or rank < best:
                best, chosen, hit = rank, replica, tokens
        return Decision(
            chosen.id, "highest_score", hit, max(1, request.prompt_tokens - hit), tuple(candidates)
        )

    def joined(self, replica: ReplicaState) -> None:
        super().joined(replica)
        if self._approximate:
            self._index.set_capacity(replica.slot, INDEX_BLOCKS_PER_REPLICA)

    def sized(self, replica: ReplicaState, kv_capacity_tokens: int) -> None:
        if not self._approximate:
            super().sized(replica, kv_capacity_tokens)
