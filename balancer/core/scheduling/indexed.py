"""What every policy with a prefix index does with it: a slot for each replica, what was sent there, how much it holds.

A match is a promise of cached tokens. Where an answer tells how many there were, it was kept or broken; broken is less than
half of it and more than SLACK_BLOCKS short. Only a prefix that was last used SETTLED_S ago speaks of the cache's size: a
younger one may still be being computed, and is not evicted that soon.
"""

from collections.abc import Sequence
from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.prefix.blocks import BLOCK_BYTES
from balancer.core.prefix.index import PrefixIndex
from balancer.core.request.tokens import estimate_tokens
from balancer.core.scheduling.capacity import Capacity
from balancer.core.scheduling.charge import Charge
from balancer.core.scheduling.policy import Policy
from balancer.core.types import Reads, RequestView

BLOCK_TOKENS = estimate_tokens(BLOCK_BYTES)
"""Tokens of a block whose prompt's bytes are not known."""

SETTLED_S = 10.0
SLACK_BLOCKS = 2


def block_tokens(request: RequestView) -> float:
    """Tokens of one block of this prompt."""
    if not request.prompt_bytes:
        return BLOCK_TOKENS
    return request.prompt_tokens * BLOCK_BYTES / request.prompt_bytes


def matched_tokens(request: RequestView, blocks: int) -> int:
    """Tokens of the first so many blocks of this prompt."""
    if not request.prompt_bytes:
        return min(request.prompt_tokens, blocks * BLOCK_TOKENS)
    return min(request.prompt_tokens, request.prompt_tokens * blocks * BLOCK_BYTES // request.prompt_bytes)


def matched_blocks(request: RequestView, tokens: int) -> int:
    """The blocks that `matched_tokens` made so many tokens of."""
    if not request.prompt_bytes:
        return min(len(request.block_keys), -(-tokens // BLOCK_TOKENS))
    blocks = -(-tokens * request.prompt_bytes // max(1, request.prompt_tokens * BLOCK_BYTES))
    return min(len(request.block_keys), blocks)


def uncached_tokens(request: RequestView, matched_tokens: int) -> int:
    """At least one: vLLM computes a prompt's last token even if it holds all of it."""
    return max(1, request.prompt_tokens - matched_tokens)


def reason(hit: int, hits: Sequence[int], cold: str) -> str:
    """Why a replica that holds `hit` tokens of the prompt was chosen of those that hold `hits`; `cold`: nobody holds any."""
    longest = max(hits)
    if not longest:
        return cold
    if hit < longest:
        return "cached_elsewhere_but_busy"
    return "cached_everywhere" if min(hits) == longest else "cached"


class Indexed(Policy):
    reads: ClassVar[Reads] = Reads.PROMPT

    def __init__(self, index: PrefixIndex) -> None:
        self._index = index
        self._capacities: dict[ReplicaState, Capacity] = {}
        self._promises: set[Charge] = set()  # those that speak of the cache's size

    def joined(self, replica: ReplicaState) -> None:
        replica.slot = self._index.acquire()
        self._capacities[replica] = Capacity()

    def left(self, replica: ReplicaState) -> None:
        self._index.release(replica.slot)
        del self._capacities[replica]

    def dispatched(self, charge: Charge, now: float) -> None:
        replica, request = charge.replica, charge.request
        depth = matched_blocks(request, charge.matched_tokens)
        if depth:
            used = self._index.last_used(replica.slot, request.block_keys[depth - 1])
            if used is not None:
                self._reused(charge, now - used)
                if now - used >= SETTLED_S:
                    self._promises.add(charge)
        self._index.record(replica.slot, request.block_keys, now)
        self._capacities[replica].sent(request)
        self._resize(replica)

    def _reused(self, charge: Charge, age_s: float) -> None:
        """The prefix that the replica holds of this prompt was last used so long ago."""

    def ended(self, charge: Charge, now: float) -> None:
        if charge not in self._promises:
            return
        self._promises.remove(charge)
        capacity, usage = self._capacities.get(charge.replica), charge.usage
        if capacity is None or usage is None or usage.cached_tokens is None:
            return
        if _broken(charge, usage.cached_tokens):
            capacity.broken()
        else:
            capacity.kept()
        self._resize(charge.replica)

    def forgot(self, replica: ReplicaState) -> None:
        self._index.clear(replica.slot)

    def sized(self, replica: ReplicaState, kv_capacity_tokens: int) -> None:
        self._capacities[replica].kv_capacity_tokens = kv_capacity_tokens
        self._resize(replica)

    def _resize(self, replica: ReplicaState) -> None:
        capacity = self._capacities[replica]
        if capacity.resized():
            self._index.set_capacity(replica.slot, capacity.blocks)


def _broken(charge: Charge, cached_tokens: int) -> bool:
    """An engine's own blocks may be larger than ours: of what does not fill one it holds nothing."""
    sample = charge.replica.sample
    engine_block_tokens = (sample and sample.block_size_tokens) or 0
    slack = max(SLACK_BLOCKS * block_tokens(charge.request), engine_block_tokens)
    return cached_tokens < charge.matched_tokens / 2 and cached_tokens < charge.matched_tokens - slack
