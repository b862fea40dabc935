"""Least work, where work that the replica's cache saves doesn't count.

    cost_i = pending_i + uncached_i * (1 + INFLICTED * load_i) + SEQUENCE_TOKENS * load_i        [prefill tokens]

pending_i: uncached prompt tokens sent to i and not yet at their first token; uncached_i: this prompt less what i is
believed to hold; load_i: requests on i. The last two terms are what decoding costs: each running sequence
lengthens every step that this request will decode in (SEQUENCE_TOKENS), and each is stalled while this prompt
is prefilled (INFLICTED). Lowest cost wins; ties go to the longer match, then to the one chosen longest ago.

A prefix that every replica holds leaves the uncached part equal everywhere, and so gives no preference.
"""

from collections.abc import Sequence
from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling.indexed import Indexed, matched_tokens, reason, uncached_tokens
from balancer.core.types import Candidate, Decision, RequestView

SEQUENCE_TOKENS = 32
"""A sequence adds about 0.1 ms to a step (Qwen3-32B on 2xH100: 50 us and 23 ns per token of context), as much as
prefilling 2 tokens does; a request feels some 16 such steps in the latency that counts here."""

INFLICTED = 0.05
"""How much a second of one stream's stall weighs against a second of this request's own wait."""


class CacheAware(Indexed):
    name: ClassVar[str] = "cache_aware"

    def __init__(self, index: PrefixIndex) -> None:
        super().__init__(index)
        self._turn = 0

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        self._turn += 1
        matched = self._index.match(request.block_keys)
        candidates = []
        best = None
        chosen = replicas[0]
        for replica in replicas:
            hit = matched_tokens(request, matched.get(replica.slot, 0))
            uncached = request.prompt_tokens - hit
            load = replica.load(now)
            cost = replica.pending_tokens + uncached * (1 + INFLICTED * load) + SEQUENCE_TOKENS * load
            candidates.append(Candidate(replica.id, cost, hit, replica.in_flight, replica.pending_tokens))
            rank = (cost, -hit, replica.last_chosen)
            if best is None or rank < best:
                best, chosen = rank, replica
        chosen.last_chosen = self._turn
        assert best is not None
        hit = -best[1]
        why = reason(hit, [candidate.matched_tokens for candidate in candidates], "least_work")
        return Decision(chosen.id, why, hit, uncached_tokens(request, hit), tuple(candidates))
