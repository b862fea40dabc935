"""One request on its way, and the limits that hold for all of them."""

from dataclasses import dataclass, field

from balancer.accounting.record import Record
from balancer.core.types import ReplicaId, RequestView
from balancer.forwarding.client import ClientSide, Outgoing
from balancer.forwarding.exchange import Exchange
from balancer.resuming import ResumePolicy
from balancer.vllm_api.routes import Route


@dataclass(frozen=True, slots=True)
class LifecycleLimits:
    max_attempts: int = 3
    first_byte_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    client_stall_timeout_s: float | None = None
    retry_budget: float = 0.2
    resume: ResumePolicy = field(default_factory=ResumePolicy)


@dataclass(slots=True, eq=False)
class Job:
    """What is asked, the bytes to send, who asked, and the record that is being written.

    `pinned` is the replica that alone can answer, if there is one; `given` the exchange that last gave the client something.
    """

    route: Route
    request: RequestView
    outgoing: Outgoing
    client: ClientSide
    record: Record
    pinned: ReplicaId | None
    given: Exchange | None = None
