"""Prompts that begin alike have one home, for as long as it is not overrun. No index, no memory, nothing to learn.

    home(prompt) = first in rendezvous order of key[d] whose load is below the limit
    d = the largest power of two that is at most DEPTH_BLOCKS and at most the prompt's whole blocks
    limit = max(FLOOR, BOUND * (1 + all loads) / replicas)

Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam 2016) with its usual bound of 1.25. Block keys
are chained, so key[d] stands for the first d blocks. A prompt that grows turn by turn changes its home at most log2(DEPTH_BLOCKS)
times, and never once it is longer than that.
"""

from collections.abc import Sequence
from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling.load import LeastRequests
from balancer.core.scheduling.rendezvous import bounded_home
from balancer.core.types import Decision, Reads, RequestView

BOUND = 1.25
DEPTH_BLOCKS = 16
"""About 1,000 tokens: past the opening that unlike system prompts share, short of where most of them end."""


class PrefixHash(LeastRequests):
    """A prompt without a whole block has no home and goes to the least loaded."""

    name: ClassVar[str] = "prefix_hash"
    reads: ClassVar[Reads] = Reads.PROMPT

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        blocks = len(request.block_keys)
        if not blocks:
            return super().choose(request, replicas, now)
        depth = min(DEPTH_BLOCKS, 1 << (blocks.bit_length() - 1))
        key = request.block_keys[depth - 1].to_bytes(8, "little")
        home, first = bounded_home(key, replicas, BOUND, now)
        return Decision(home.id, "prefix" if first else "prefix_spilled")
