"""What the peers' rules share: a number for each replica, the lowest wins, ties are broken at random."""

from collections.abc import Sequence

from balancer.core.fleet.replica import ReplicaState
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling.indexed import Indexed, matched_tokens, uncached_tokens
from balancer.core.scheduling.policy import Rng
from balancer.core.types import BlockKey, Candidate, Decision, RequestView


class LowestCost(Indexed):
    def __init__(self, index: PrefixIndex, rng: Rng) -> None:
        super().__init__(index)
        self._rng = rng

    def _matched_blocks(self, keys: Sequence[BlockKey], replicas: Sequence[ReplicaState]) -> list[int]:
        matched = self._index.match(keys)
        return [matched.get(replica.slot, 0) for replica in replicas]

    def _matched_tokens(self, request: RequestView, replicas: Sequence[ReplicaState]) -> list[int]:
        return [
            matched_tokens(request, blocks) for blocks in self._matched_blocks(request.block_keys, replicas)
        ]

    def _lowest(
        self,
        request: RequestView,
        replicas: Sequence[ReplicaState],
        matched_tokens: Sequence[int],
        costs: Sequence[float],
        reason: str,
    ) -> Decision:
        least = min(costs)
        ties = [place for place, cost in enumerate(costs) if cost == least]
        place = ties[0] if len(ties) == 1 else ties[int(self._rng() * len(ties))]
        chosen, matched = replicas[place].id, matched_tokens[place]
        candidates = [
            Candidate(replica.id, cost, hit, replica.in_flight, replica.pending_tokens)
            for replica, cost, hit in zip(replicas, costs, matched_tokens, strict=True)
        ]
        candidates.sort(key=lambda candidate: (candidate.cost, candidate.replica != chosen))
        return Decision(chosen, reason, matched, uncached_tokens(request, matched), tuple(candidates))
