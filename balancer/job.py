"""One request on its way, and the limits that hold for all of them."""

from dataclasses import dataclass, field
from typing import Self

from balancer.accounting.record import Record
from balancer.config import Settings, replica_authorization
from balancer.core.types import ReplicaId, RequestView
from balancer.forwarding.client import ClientSide, Outgoing
from balancer.forwarding.exchange import Exchange
from balancer.forwarding.leg import WHOLE, Leg
from balancer.resuming import Resumable, ResumePolicy
from balancer.vllm_api.routes import Route


@dataclass(frozen=True, slots=True)
class LifecycleLimits:
    """`authorization` is what replicas get in the place of the client's own."""

    max_attempts: int = 3
    first_byte_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    total_timeout_s: float | None = None
    client_stall_timeout_s: float | None = None
    retry_budget: float = 0.2
    resume: ResumePolicy = field(default_factory=ResumePolicy)
    authorization: bytes | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        authorization = replica_authorization(settings)
        return cls(
            settings.max_attempts,
            settings.first_byte_timeout_s,
            settings.idle_timeout_s,
            settings.total_timeout_s,
            settings.client_stall_timeout_s,
            settings.retry_budget,
            ResumePolicy(settings.resume, settings.resume_sampled),
            None if authorization is None else authorization.encode(),
        )


@dataclass(slots=True, eq=False)
class Job:
    """What is asked, the bytes to send, who asked, and the record that is being written.

    `pinned` is the replica that alone can answer, if there is one; `leg` the next attempt's part of the stream; `given` the
    exchange that last gave the client something.
    """

    route: Route
    request: RequestView
    outgoing: Outgoing
    client: ClientSide
    record: Record
    pinned: ReplicaId | None
    leg: Leg = WHOLE
    given: Exchange | None = None

    def follow(self, stream: Resumable) -> None:
        """The next attempt asks what the stream wants asked."""
        self.request, self.outgoing, self.leg = stream.request, stream.outgoing, stream.leg
