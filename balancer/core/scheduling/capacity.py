"""How many blocks of the prefix index a replica is worth: what its engine can hold, as far as its answers bear it out.

    blocks       = trust * kv_capacity_tokens / block_tokens
    block_tokens = BLOCK_BYTES * tokens / bytes of the prompts sent there, the latest MEMORY of them weighing most

`trust` falls where the engine had far less of a prompt than the index believed, and recovers where it had it: the cache is
smaller than its own figure says wherever others use it too, or answers fill it. Recovery is slow and the fall small, so
that one broken promise in five leaves the size as it is: an index of half the true size doubles P90, one of twice that
size does no harm.
"""

from math import ceil

from balancer.core.prefix.blocks import BLOCK_BYTES
from balancer.core.request.tokens import BYTES_PER_TOKEN
from balancer.core.types import RequestView

MEMORY = 256
PRIOR_TOKENS = 4096
RESIZE_SHARE = 0.05
LEAST_TRUST = 0.25
BROKEN = 0.98
KEPT = 1.005


class Capacity:
    __slots__ = ("_bytes", "_tokens", "blocks", "kv_capacity_tokens", "trust")

    def __init__(self) -> None:
        self.kv_capacity_tokens: int | None = None
        self.trust = 1.0
        self.blocks: int | None = None
        self._tokens: float = PRIOR_TOKENS
        self._bytes: float = PRIOR_TOKENS * BYTES_PER_TOKEN

    def __repr__(self) -> str:
        return f"<Capacity {self.blocks} blocks of {self.block_tokens:.0f} tokens, trust {self.trust:.2f}>"

    @property
    def block_tokens(self) -> float:
        return BLOCK_BYTES * self._tokens / self._bytes

    def sent(self, request: RequestView) -> None:
        if request.prompt_bytes and request.prompt_tokens:
            kept = 1 - 1 / MEMORY
            self._tokens = self._tokens * kept + request.prompt_tokens
            self._bytes = self._bytes * kept + request.prompt_bytes

    def kept(self) -> None:
        self.trust = min(1.0, self.trust * KEPT)

    def broken(self) -> None:
        self.trust = max(LEAST_TRUST, self.trust * BROKEN)

    def resized(self) -> bool:
        """Whether `blocks` has changed: small steps are saved up."""
        if self.kv_capacity_tokens is None:
            return False
        blocks = max(1, ceil(self.trust * self.kv_capacity_tokens / self.block_tokens))
        if self.blocks is not None and abs(blocks - self.blocks) <= RESIZE_SHARE * self.blocks:
            return False
        self.blocks = blocks
        return True
