"""NVIDIA Dynamo's KV router.

    cost_i = (Q_i + prompt - matched_i) / block + (active_i + blocks of this prompt not among them),  lowest wins

The first term is prefill still to be done, the second what would be held while decoding; both count blocks, one to one. Q_i:
uncached tokens sent to i and not yet at their first token. active_i: the distinct prompt blocks of all requests on i, from
their being sent to their end.

ai-dynamo/dynamo 07a6c9c, lib/kv-router/src/scheduling/selector and sequences; the router design page of 1.6.0 says the same. With
its defaults: overlap credit 1 without decay, prefill scale 1, no weight on the number of requests, temperature 0, random
ties, output blocks not tracked. Left out: credits for other tiers than the GPU's, and prefill worked off by a model of its
speed.
"""

from bisect import bisect_left
from collections.abc import Container, Sequence
from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling.charge import Charge
from balancer.core.scheduling.indexed import block_tokens, uncached_tokens
from balancer.core.scheduling.peers.lowest_cost import LowestCost
from balancer.core.scheduling.policy import Rng
from balancer.core.types import BlockKey, Decision, RequestView


class DynamoCost(LowestCost):
    name: ClassVar[str] = "dynamo_cost"

    def __init__(self, index: PrefixIndex, rng: Rng) -> None:
        super().__init__(index, rng)
        self._active: dict[ReplicaState, dict[BlockKey, int]] = {}  # how many requests on it have the block

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        keys = request.block_keys
        matched = self._matched_tokens(request, replicas)
        costs = []
        per_block = block_tokens(request) or 1.0
        for replica, hit in zip(replicas, matched, strict=True):
            active = self._active[replica]
            prefill = (replica.pending_tokens + uncached_tokens(request, hit)) / per_block
            costs.append(prefill + len(active) + len(keys) - _leading(keys, active))
        return self._lowest(request, replicas, matched, costs, "lowest_cost")

    def joined(self, replica: ReplicaState) -> None:
        super().joined(replica)
        self._active[replica] = {}

    def left(self, replica: ReplicaState) -> None:
        super().left(replica)
        del self._active[replica]

    def dispatched(self, charge: Charge, now: float) -> None:
        super().dispatched(charge, now)
        active = self._active[charge.replica]
        for key in charge.request.block_keys:
            active[key] = active.get(key, 0) + 1

    def ended(self, charge: Charge, now: float) -> None:
        super().ended(charge, now)
        active = self._active.get(charge.replica)
        if active is None:
            return  # the replica has left
        for key in charge.request.block_keys:
            if active[key] > 1:
                active[key] -= 1
            else:
                del active[key]


def _leading(keys: Sequence[BlockKey], active: Container[BlockKey]) -> int:
    """How many of the keys are active. Keys are chained: with one, all before it are there, so halving finds the end."""
    return bisect_left(keys, True, key=lambda key: key not in active)
