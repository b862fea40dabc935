"""A request that waits in the balancer, as policies see it. Who waits, and whose turn it is, is admission's matter."""

from dataclasses import dataclass, field

from balancer.core.types import Decision, ReplicaId, RequestView

Pool = str | None | tuple[str | None, frozenset[ReplicaId]]
"""Who may have a request: the replicas that serve its model, or those that were named of them. One pool is one queue."""

Turn = tuple[int, float, float]
"""Priority, deadline, and what the tenant has got already: the least goes first."""


def pool(request: RequestView) -> Pool:
    return request.model if request.among is None else (request.model, request.among)


@dataclass(slots=True, eq=False)
class Share:
    """What one tenant has got of late, in tokens, and how many of its requests wait."""

    tokens: float = 0.0
    waiting: int = 0


@dataclass(slots=True, eq=False)
class Waiting:
    """`since` is its arrival; `decision` where the policy would have it go, as of `decided_at`. It is given up at `ends_at`.
    `tried` are the replicas that it was already sent to, `pool` is who may have it.
    """

    request: RequestView
    since: float
    decision: Decision
    decided_at: float
    share: Share
    ends_at: float = float("inf")
    tried: frozenset[ReplicaId] = frozenset()
    pool: Pool = field(init=False)

    def __post_init__(self) -> None:
        self.pool = pool(self.request)

    @property
    def turn(self) -> Turn:
        request = self.request
        return (
            request.priority,
            float("inf") if request.deadline is None else request.deadline,
            self.share.tokens,
        )
