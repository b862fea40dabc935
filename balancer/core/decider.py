"""The facade of the core: a request in, a decision out, and what the world reports in between."""

from balancer.core.admission import Limits, Line
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy, failed, succeeded
from balancer.core.fleet.replica import ReplicaState
from balancer.core.request.parse import read_form, read_request
from balancer.core.request.tokens import TokenEstimator
from balancer.core.scheduling import Charge, Policy
from balancer.core.types import Decision, EngineSample, ReplicaId, RequestView, RouteKind, Usage


class Decider:
    def __init__(
        self, fleet: Fleet, policy: Policy, health: HealthPolicy, limits: Limits | None = None
    ) -> None:
        self.fleet = fleet
        self.policy = policy
        self.line = Line(fleet, policy, limits)
        self.tokens = TokenEstimator()
        self._health = health
        for replica in fleet:
            policy.joined(replica)

    def understand(self, route: RouteKind, body: bytes, form: str | None) -> RequestView:
        """What is asked, as far as the policy needs to know; `form` is the content type of a multipart body."""
        if form is not None and form.startswith("multipart/"):
            return read_form(route, body, form)
        return read_request(route, body, self.policy.reads, self.tokens)

    def decide(self, request: RequestView, tried: frozenset[ReplicaId], now: float) -> Decision:
        """Where this attempt goes; if the decision says `wait`, it belongs into the line.

        Raises: Refused, when no replica serves the model, or all that do are draining or were tried.
        """
        replicas = self.fleet.eligible(request.model, tried)
        return self.line.decide(request, replicas, now, retry=bool(tried))

    def dispatch(self, request: RequestView, decision: Decision, now: float) -> Charge:
        """The attempt is being sent: count it until its charge is released."""
        charge = Charge(request, self.fleet[decision.replica], decision, self.policy, now)
        if self.line:
            self.line.sent(charge)
        return charge

    def ended(self, charge: Charge, now: float, usage: Usage | None, *, output_events: int = 0) -> None:
        """The attempt is over: its charge is released, and what its answer told is learned."""
        if usage is not None and charge.ended_at is None:
            self.tokens.learn(charge.request, usage.prompt_tokens)
        charge.release(now, usage, output_events=output_events)

    def answered(self, replica: ReplicaState) -> bool:
        """Traffic or a probe shows that the replica works. True if its health changed."""
        return succeeded(replica, self._health)

    def failed(self, replica: ReplicaState, error: str, *, certain: bool = False) -> bool:
        """The replica is at fault; `certain` if its port is closed. True if its health changed."""
        changed = failed(replica, self._health, error, certain=certain)
        if changed and certain:
            self.policy.forgot(replica)  # the process is gone, and its cache with it
        return changed

    def sampled(self, replica: ReplicaState, sample: EngineSample, in_flight_when_asked: int) -> bool:
        """A reading of the engine's metrics. True if it tells of a restart, which emptied the cache."""
        before = replica.sample
        restarted = replica.sampled(sample, in_flight_when_asked)
        capacity = sample.kv_capacity_tokens
        if capacity is not None and (before is None or before.kv_capacity_tokens != capacity):
            self.policy.sized(replica, capacity)
        if restarted:
            self.policy.forgot(replica)
        return restarted
