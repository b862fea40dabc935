"""The facade of the core: a request in, a decision out, and what the world reports in between.

All that changes what is decided comes in here or through the line: so a journal of these calls replays every decision
(balancer/journal).
"""

from collections.abc import Mapping
from math import ceil

from balancer.core.admission import Limits, Line
from balancer.core.errors import limited
from balancer.core.fleet import health as rules
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.gpu import GpuState
from balancer.core.fleet.health import HealthPolicy
from balancer.core.fleet.replica import ReplicaState
from balancer.core.joint import Joint
from balancer.core.request.parse import read_form, read_request, retargeted
from balancer.core.request.tokens import TokenEstimator
from balancer.core.scheduling import Charge, Policy
from balancer.core.tiering.memory import Calibration, Tiering
from balancer.core.tiering.types import Choice, Plan, Tier
from balancer.core.types import (
    Decision,
    EngineSample,
    Fault,
    Health,
    Json,
    Reads,
    ReplicaId,
    RequestView,
    RouteKind,
    Usage,
)


class Decider:
    def __init__(
        self,
        fleet: Fleet,
        policy: Policy,
        health: HealthPolicy,
        limits: Limits | None = None,
        tiering: Tiering | None = None,
    ) -> None:
        self.fleet = fleet
        self.policy = policy
        self.line = Line(fleet, policy, limits)
        self.tokens = TokenEstimator()
        self.health = health
        self.tiering = tiering
        for replica in fleet:
            policy.joined(replica)

    def join(self, replica: ReplicaState) -> None:
        """A replica is new: requests may go there from now on."""
        self.fleet.join(replica)
        self.policy.joined(replica)

    def leave(self, replica: ReplicaState) -> None:
        """A replica goes: no decision names it any more. What it has in flight ends in its own time, and then
        `fleet.settle` tells.
        """
        self.fleet.leave(replica)
        self.policy.left(replica)

    def drain(self, replica: ReplicaState, *, draining: bool, now: float) -> None:
        """Ask it nothing new, or do again: it begins cold then."""
        replica.draining = draining
        if not draining:
            self.fleet.warms_up(replica, now)

    def serves(self, replica: ReplicaState, models: frozenset[str]) -> None:
        """These are its models from now on."""
        replica.models = models

    def bound(
        self,
        replica: ReplicaState,
        max_in_flight: int | None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> None:
        """So much may be on it; of a provider also what it takes in a minute."""
        replica.max_in_flight = max_in_flight
        if replica.terms is not None:
            replica.terms.quota.limit(requests_per_minute, tokens_per_minute)

    def configure(
        self, health: HealthPolicy, limits: Limits, *, panic_threshold: float, warmup_s: float
    ) -> None:
        """Other rules hold from now on."""
        self.health, self.line.limits = health, limits
        self.fleet.panic_threshold, self.fleet.warmup_s = panic_threshold, warmup_s

    def tier(self, tiers: Mapping[str, Tier] | None, calibration: Calibration = lambda _: None) -> None:
        """These are the tiers from now on, by classifiers that are calibrated so: what was learned of shares stays. None: there
        are no tiers.
        """
        if tiers is None:
            self.tiering = None
            return
        if self.tiering is None:
            self.tiering = Tiering(tiers)
        self.tiering.tiers = tiers
        self.tiering.calibrated(calibration)

    @property
    def reads(self) -> Reads:
        """How much of a request has to be understood."""
        return self.policy.reads

    def understand(
        self,
        route: RouteKind,
        body: bytes,
        form: str | None,
        *,
        fields: Json = None,
        retarget: bool | None = None,
    ) -> RequestView:
        """What is asked, as far as the policy needs to know; `form` is the content type of a multipart body, `fields` the body
        decoded, if it was. `retarget`: another model may be chosen for it; None: if there are tiers.
        """
        if form is not None and form.startswith("multipart/"):
            return read_form(route, body, form)
        keep = self.tiering is not None if retarget is None else retarget
        return read_request(route, body, self.reads, self.tokens, keep_prompt=keep, fields=fields)

    def decide(self, request: RequestView, tried: frozenset[ReplicaId], now: float) -> Decision:
        """Where this attempt goes; if the decision says `wait`, it belongs into the line.

        Raises: Refused, when no replica serves the model, or all that do are draining or were tried.
        """
        replicas = self.fleet.eligible(request.model, now, tried, request.among)
        return self.line.decide(request, replicas, now, retry=bool(tried))

    def admit(self, decision: Decision, now: float) -> Decision:
        """The decision, if it names a provider by that one's own limits: nobody waits for it, and nobody it takes.

        Raises: Refused (429), if it lets us send no more now.
        """
        replica = self.fleet[decision.replica]
        if replica.terms is None:
            return decision
        wait_s = replica.terms.quota.wait_s(now)
        if wait_s or replica.at_limit:
            raise limited(ceil(max(1.0, wait_s)))
        return decision._replace(wait=False)

    def choose(self, plan: Plan, request: RequestView, tried: frozenset[ReplicaId], now: float) -> Choice:
        """Which tier has it and where this attempt goes, told together. The request that is sent, or waits, is the choice's.

        While the tier of `plan.choice` is not in `plan.left`, that tier is asked again; else the next one is.
        Raises: Refused, if no tier is left that could serve it.
        """
        assert self.tiering is not None
        joint = Joint(self.tiering, self.fleet, self.line, self.policy, self._retarget)
        return joint.choose(plan, request, tried, now)

    def preview(self, request: RequestView, now: float) -> Decision:
        """What `decide` would say now, without anything being decided.

        Raises: Refused, as that does.
        """
        replicas = self.fleet.eligible(request.model, now, among=request.among)
        return self.line.decide(request, replicas, now, retry=False, dry=True)

    def preview_choice(self, plan: Plan, request: RequestView, now: float) -> Choice:
        """What `choose` would say now for a plan that nothing was chosen for yet.

        Raises: Refused, as that does.
        """
        assert self.tiering is not None
        joint = Joint(self.tiering, self.fleet, self.line, self.policy, self._retarget, dry=True)
        return joint.choose(plan, request, frozenset(), now)

    def _retarget(self, request: RequestView, model: str, among: frozenset[ReplicaId] | None) -> RequestView:
        return retargeted(request, model, among, self.tokens)

    def dispatch(self, request: RequestView, decision: Decision, now: float) -> Charge:
        """The attempt is being sent: count it until its charge is released."""
        replica = self.fleet[decision.replica]
        charge = Charge(request, replica, decision, self.policy, now)
        if self.line:
            self.line.sent(charge)
        if replica.ejection is not None and replica.half_open(now):
            replica.ejection.trial = charge
        if replica.terms is not None:
            replica.terms.quota.take(request.prompt_tokens, now)
        return charge

    def first_token(self, charge: Charge, now: float) -> None:
        """The attempt's first token came."""
        charge.first_token(now)

    def ended(self, charge: Charge, now: float, usage: Usage | None, *, output_events: int = 0) -> None:
        """The attempt is over: its charge is released, and what its answer told is learned."""
        if usage is not None and charge.ended_at is None:
            self.tokens.learn(charge.request, usage.prompt_tokens)
            if charge.replica.terms is not None:
                used = usage.prompt_tokens + usage.output_tokens
                charge.replica.terms.quota.settle(charge.request.prompt_tokens, used, now)
        charge.release(now, usage, output_events=output_events)

    def answered(self, replica: ReplicaState, now: float, *, sent_at: float) -> bool:
        """It answered a request, which was sent then. True if its health changed."""
        before = replica.health
        replica.declines = 0
        if replica.terms is not None:
            replica.terms.quota.answered()
        return self._turned(replica, before, rules.answered(replica, self.health, now, sent_at), now)

    def declined(self, replica: ReplicaState, now: float, retry_after_s: float | None = None) -> None:
        """It answered that it is busy: no fault, and no reason to ask it again at once."""
        self.fleet.declined(replica, now, retry_after_s)
        if replica.terms is not None:
            replica.terms.quota.pause(now, retry_after_s)

    def failed(
        self, replica: ReplicaState, error: str, now: float, *, refused: bool = False, dead: bool = False
    ) -> bool:
        """It failed to answer a request, by its own fault; its port may be `refused`, its engine say that it is `dead`. True if
        its health changed.
        """
        if refused and not replica.external:  # a provider's port is no process of one engine
            return self._refused(replica, error, now)
        gone = replica.gone
        changed = rules.request_failed(replica, self.health, error, now, dead=dead)
        if replica.gone and not gone:
            self._forget(replica)
        return changed

    def probed(
        self,
        replica: ReplicaState,
        asked_at: float,
        now: float,
        *,
        error: str = "",
        refused: bool = False,
        generated: bool = False,
    ) -> bool:
        """What a probe says that was sent at `asked_at`: nothing bad, without an `error`; `generated` if a token came of it.
        True if its health changed.
        """
        before = replica.health
        if refused:
            return self._refused(replica, error, now)
        if error:
            return rules.probe_failed(replica, self.health, error, now, asked_at)
        if generated:
            changed = rules.answered(replica, self.health, now, asked_at)
        else:
            changed = rules.probe_passed(replica, self.health, now)
        return self._turned(replica, before, changed, now)

    def sampled(self, replica: ReplicaState, sample: EngineSample, in_flight_when_asked: int) -> bool:
        """A reading of the engine's metrics. True if it tells of a restart, which emptied the cache."""
        now, known, before = sample.taken_at, replica.sample, replica.health
        restarted = replica.sampled(sample, in_flight_when_asked)
        if known is None or known.kv_capacity_tokens != sample.kv_capacity_tokens:
            self._size(replica)
        slept = self._turned(replica, before, rules.slept(replica, now, asleep=sample.asleep), now)
        if restarted or (slept and sample.asleep):  # every level of sleep discards the KV cache
            self._forget(replica)
        if restarted:
            rules.restarted(replica, now)
            self.fleet.warms_up(replica, now)
        self._judge(replica, now)
        return restarted

    def saw_gpus(self, replica: ReplicaState, state: GpuState, now: float) -> None:
        """What its GPUs say of it: which of the others go before it, how fast it is, and how much it can hold."""
        before = replica.gpu
        self.fleet.saw_gpus(replica, state, now)
        if state.slow != before.slow and replica in self.fleet:
            self.policy.slowed(replica, state.slow / before.slow)
        if state.share != before.share:
            self._size(replica)

    def _size(self, replica: ReplicaState) -> None:
        """Tell the policy what the engine can hold, if it is known."""
        capacity = replica.sample and replica.sample.kv_capacity_tokens
        if capacity and replica in self.fleet:
            self.policy.sized(replica, max(1, round(replica.gpu.share * capacity)))

    def unread(self, replica: ReplicaState, now: float, *, answered: bool) -> None:
        """The replica's metrics could not be read: it did not answer for them, or not with such a page."""
        replica.progress.unread(now, answered=answered)
        self._judge(replica, now)

    def _judge(self, replica: ReplicaState, now: float) -> None:
        before = replica.health
        changed = rules.judged(replica, self.fleet.siblings(replica), self.health, now)
        self._turned(replica, before, changed, now)

    def _refused(self, replica: ReplicaState, error: str, now: float) -> bool:
        """The process is gone, and its cache with it."""
        known = replica.fault is Fault.REFUSED
        changed = rules.refused(replica, error, now)
        if not known:
            self._forget(replica)
        return changed

    def _turned(self, replica: ReplicaState, before: Health, changed: bool, now: float) -> bool:
        if changed and replica.health is Health.HEALTHY:
            self.fleet.warms_up(replica, now, new=before is Health.UNKNOWN)
        return changed

    def _forget(self, replica: ReplicaState) -> None:
        """Its cache is empty. The policy knows no more of one that is leaving."""
        if replica in self.fleet:
            self.policy.forgot(replica)
