"""One request on its way, and the limits that hold for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from balancer.accounting.record import Record
from balancer.config import Settings
from balancer.core.fleet.replica import ReplicaState
from balancer.core.tiering.types import Offer
from balancer.core.types import Decision, ReplicaId, RequestView
from balancer.forwarding.client import ClientSide, Outgoing
from balancer.forwarding.exchange import Exchange
from balancer.forwarding.leg import WHOLE, Leg
from balancer.forwarding.manners import Manners, manners
from balancer.healing import Healer
from balancer.resuming import Resumable, ResumePolicy
from balancer.tiered import Due, Tiers, Way
from balancer.vllm_api.routes import Route

if TYPE_CHECKING:
    from balancer.accounting.tracing import Trace  # which needs an extra


@dataclass(frozen=True, slots=True)
class LifecycleLimits:
    max_attempts: int = 3
    first_byte_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    total_timeout_s: float | None = None
    client_stall_timeout_s: float | None = None
    retry_budget: float = 0.2
    resume: ResumePolicy = field(default_factory=ResumePolicy)
    decision_headers: bool = True

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            settings.max_attempts,
            settings.first_byte_timeout_s,
            settings.idle_timeout_s,
            settings.total_timeout_s,
            settings.client_stall_timeout_s,
            settings.retry_budget,
            ResumePolicy(settings.resume, settings.resume_sampled),
            settings.decision_headers,
        )


@dataclass(slots=True, eq=False)
class Job:
    """What is asked, the bytes to send, who asked, and the record that is being written.

    `pinned` is the replica that alone can answer, if there is one; `tiers` is where costs are counted, if there are tiers; `way`
    leads through them, where the model is ours to choose: `due` until its score is there; `healer` mends the answer's JSON;
    `trace` tells of it, if it is traced. Of the next attempt: `leg` is its part of the stream, `told` what the head says of it,
    and when it was decided on. `given` is the exchange that last gave the client something.
    """

    route: Route
    request: RequestView
    outgoing: Outgoing
    client: ClientSide
    record: Record
    pinned: ReplicaId | None
    tiers: Tiers | None = None
    way: Way | None = None
    due: Due | None = None
    healer: Healer | None = None
    trace: "Trace | None" = None
    leg: Leg = WHOLE
    told: bytes = b""
    decided_at: float = 0.0
    given: Exchange | None = None
    _chosen: Decision | None = None

    async def find_way(self, due: Due) -> None:
        """Raises: Refused, if no tier may or can serve the request."""
        self.way, self.due = await due.way(), None

    def enter_tier(self, way: Way, now: float) -> None:
        """The next attempts are those at the next tier.

        Raises: Refused, if none can be asked.
        """
        self.request, self.outgoing, self._chosen = way.enter(self.record, now)
        self.leg = WHOLE
        if self.trace is not None and self.record.tiered is not None:
            planned_at = None if way.left else self.record.understood_at
            self.trace.entered_tier(planned_at or now, self.record.tiered)
        if way.left:
            self.pinned = None  # whose tier was left

    @property
    def offers(self) -> Sequence[Offer]:
        """What each tier would have done, where the tier is ours to choose."""
        choice = None if self.way is None else self.way.plan.choice
        return () if choice is None else choice.offers

    def take_choice(self) -> Decision | None:
        """Where the first attempt at a tier goes: that was decided with it."""
        chosen, self._chosen = self._chosen, None
        return chosen

    def settle(self, tiers: Tiers) -> None:
        """The request has ended: its costs are counted, also of an answer that was cut off, as far as that had come."""
        record, given = self.record, self.given
        if record.usage is None and given is not None and given.scanner is not None:
            record.token_at = record.token_at or given.token_at
            record.output_events = max(record.output_events, given.scanner.events)
        tiers.ended(record, self.request, self.way)

    def manners(self, replica: ReplicaState) -> Manners:
        """How the replica's answer to the next attempt is read."""
        return manners(external=replica.external, too_long=self.way is not None, kept=self.healer is not None)

    def follow(self, stream: Resumable) -> None:
        """The next attempt asks what the stream wants asked."""
        self.request, self.outgoing, self.leg = stream.request, stream.outgoing, stream.leg
