"""A request that waits in the balancer, as policies see it. Who waits, and whose turn it is, is admission's matter."""

from dataclasses import dataclass

from balancer.core.types import Decision, ReplicaId, RequestView

Turn = tuple[int, float, float]
"""Priority, deadline, and what the tenant has got already: the least goes first."""


@dataclass(slots=True, eq=False)
class Share:
    """What one tenant has got of late, in tokens, and how many of its requests wait."""

    tokens: float = 0.0
    waiting: int = 0


@dataclass(slots=True, eq=False)
class Waiting:
    """`since` is its arrival; `decision` where the policy would have it go, as of `decided_at`. It is given up at `ends_at`.
    `tried` are the replicas that it was already sent to.
    """

    request: RequestView
    since: float
    decision: Decision
    decided_at: float
    share: Share
    ends_at: float = float("inf")
    tried: frozenset[ReplicaId] = frozenset()

    @property
    def turn(self) -> Turn:
        request = self.request
        return (
            request.priority,
            float("inf") if request.deadline is None else request.deadline,
            self.share.tokens,
        )
