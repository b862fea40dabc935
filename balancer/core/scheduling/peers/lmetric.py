"""LMetric: multiply what is new by what runs (Zhang et al., arXiv 2603.15202, March 2026).

    cost_i = (Q_i + uncached_i) * (n_i + 1),  lowest wins

Q_i: uncached tokens sent to i and not yet at their first token. n_i: requests in flight on i, for the batch that this one would
join. No weights: a factor before either term is the same for all replicas. uncached_i is at least 1, since a prompt's
last token is always computed; the paper's score is 0 there, and orders nothing.

The abstract leaves open whether queued tokens belong into the first factor. With them the rule reacts to bursts and, under
load, scatters prefixes until no replica holds its own. Without them affinity is firmer, and a long queue is seen only as
a number of requests. The simulator has that variant as `lmetric_np`.
"""

from collections.abc import Sequence
from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling.indexed import uncached_tokens
from balancer.core.scheduling.peers.lowest_cost import LowestCost
from balancer.core.types import Decision, RequestView


class LMetric(LowestCost):
    name: ClassVar[str] = "lmetric"

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        matched = self._matched_tokens(request, replicas)
        costs = [
            self._prefill_tokens(replica, uncached_tokens(request, hit)) * (replica.in_flight + 1)
            for replica, hit in zip(replicas, matched, strict=True)
        ]
        return self._lowest(request, replicas, matched, costs, "lowest_product")

    def _prefill_tokens(self, replica: ReplicaState, uncached: int) -> int:
        return replica.pending_tokens + uncached
