"""A Decider, and its line, that write down what they are told and what they say.

Each call is done first and written then, with what came of it, so a replay can tell whether the same comes of it again. Nothing
is read from the clock or drawn here.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from balancer.core.admission import Limits, Line
from balancer.core.admission.line import Released
from balancer.core.decider import Decider
from balancer.core.errors import Refused
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.gpu import GpuState
from balancer.core.fleet.health import HealthPolicy
from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling import Charge, Policy, Waiting
from balancer.core.tiering.memory import Calibration
from balancer.core.tiering.types import Choice, Plan, Tier
from balancer.core.types import Decision, EngineSample, Reads, ReplicaId, RequestView, Usage
from balancer.journal import kinds
from balancer.journal.scribe import Outcome, Scribe, Sink

PINNED = "pinned"
REFUSED, DEAD = 1, 2
ERROR, PORT_CLOSED, GENERATED = 1, 2, 4


class RecordedLine(Line):
    def __init__(self, fleet: Fleet, policy: Policy, scribe: Scribe) -> None:
        super().__init__(fleet, policy)
        self._scribe = scribe
        self._numbers: dict[Waiting, int] = {}
        self._joined = 0

    def join(
        self,
        request: RequestView,
        decision: Decision,
        now: float,
        tried: frozenset[ReplicaId] = frozenset(),
    ) -> Waiting:
        scribe = self._scribe
        asked = scribe.request(request)
        self._joined += 1
        try:
            waiting = super().join(request, decision, now, tried)
        except Refused:
            scribe.put((kinds.WAITS, now, self._joined, asked, _in_order(tried), False))
            raise
        self._numbers[waiting] = self._joined
        scribe.put((kinds.WAITS, now, self._joined, asked, _in_order(tried), True))
        return waiting

    def leave(self, waiting: Waiting) -> None:
        super().leave(waiting)
        number = self._numbers.pop(waiting, None)
        if number is not None:
            self._scribe.put((kinds.WAITS_NO_MORE, number))

    def release(self, now: float) -> Iterator[Released]:
        scribe = self._scribe
        begun = ended = False
        try:
            for waiting, decision in super().release(now):
                if not begun:
                    scribe.put((kinds.RELEASE, now, False))
                    begun = True
                number = self._numbers.pop(waiting, 0)
                scribe.put((kinds.RELEASED, number, _outcome(scribe, decision)))
                yield waiting, decision
            ended = True
        finally:
            if begun:
                scribe.put((kinds.RELEASE_ENDS, ended))
            elif ended:
                scribe.put((kinds.RELEASE, now, True))


class Recorder(Decider):
    """`facts` say how the policy was made: a replay makes it so again."""

    def __init__(
        self, fleet: Fleet, policy: Policy, health: HealthPolicy, sink: Sink, facts: Mapping[str, Any]
    ) -> None:
        self._scribe = scribe = Scribe(sink, facts, self._present)
        self._attempts = 0
        self._numbers: dict[Charge, int] = {}
        self._asked: list[int] = []
        super().__init__(fleet, policy, health)
        self.line = RecordedLine(fleet, policy, scribe)
        for replica in fleet:
            scribe.joins(replica)
        scribe.begin()

    @property
    def decisions(self) -> int:
        return self._scribe.decisions

    def flush(self) -> None:
        """Hand over what was written down."""
        self._scribe.flush()

    def _present(self) -> None:
        scribe = self._scribe
        self._put_configuration()
        for replica in self.fleet:
            scribe.put((kinds.REPLICA, scribe.replica(replica), *scribe.state(replica)))
            self._put_bounds(replica)
        scribe.put((kinds.TIER, self.tiering is not None, False))

    # -- the fleet and its rules

    def join(self, replica: ReplicaState) -> None:
        super().join(replica)
        scribe = self._scribe
        scribe.forget(lambda state: state in self.fleet or state in self.fleet.leaving)
        scribe.put((kinds.JOIN, scribe.joins(replica), *scribe.state(replica)))

    def leave(self, replica: ReplicaState) -> None:
        super().leave(replica)
        self._scribe.put((kinds.LEAVE, self._scribe.replica(replica)))

    def drain(self, replica: ReplicaState, *, draining: bool, now: float) -> None:
        super().drain(replica, draining=draining, now=now)
        scribe = self._scribe
        scribe.put((kinds.DRAIN, now, scribe.replica(replica), draining))

    def serves(self, replica: ReplicaState, models: frozenset[str]) -> None:
        super().serves(replica, models)
        self._scribe.put((kinds.SERVES, self._scribe.replica(replica), sorted(models)))

    def bound(
        self,
        replica: ReplicaState,
        max_in_flight: int | None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> None:
        super().bound(replica, max_in_flight, requests_per_minute, tokens_per_minute)
        self._put_bounds(replica)

    def _put_bounds(self, replica: ReplicaState) -> None:
        quota = () if replica.terms is None else replica.terms.quota.limits
        self._scribe.put((kinds.BOUND, self._scribe.replica(replica), replica.max_in_flight, *quota))

    def configure(
        self, health: HealthPolicy, limits: Limits, *, panic_threshold: float, warmup_s: float
    ) -> None:
        super().configure(health, limits, panic_threshold=panic_threshold, warmup_s=warmup_s)
        self._put_configuration()

    def _put_configuration(self) -> None:
        fleet = self.fleet
        rules = self.health, self.line.limits, fleet.panic_threshold, fleet.warmup_s
        self._scribe.put((kinds.CONFIGURE, *rules))

    def tier(self, tiers: Mapping[str, Tier] | None, calibration: Calibration = lambda _: None) -> None:
        super().tier(tiers, calibration)
        self._scribe.other_tiers()
        self._scribe.put((kinds.TIER, tiers is not None, True))

    # -- decisions

    @property
    def reads(self) -> Reads:
        """All, whatever the policy: another one may be asked what it would have done."""
        return Reads.PROMPT

    def decide(self, request: RequestView, tried: frozenset[ReplicaId], now: float) -> Decision:
        scribe = self._scribe
        asked = scribe.request(request)
        try:
            decision = super().decide(request, tried, now)
        except Refused as refused:
            status = scribe.refused(refused)
            scribe.put((kinds.DECIDE, now, asked, _in_order(tried), status))
            raise
        scribe.put((kinds.DECIDE, now, asked, _in_order(tried), scribe.decided(decision)))
        return decision

    def choose(self, plan: Plan, request: RequestView, tried: frozenset[ReplicaId], now: float) -> Choice:
        assert self.tiering is not None
        scribe, self._asked = self._scribe, []
        of = scribe.plan(plan, self.tiering.calibration)
        asked = scribe.request(request, keys=False)
        left = tuple(plan.left)
        outcome: Outcome
        try:
            choice = super().choose(plan, request, tried, now)
        except Refused as refused:
            outcome = scribe.refused(refused)
            event = (kinds.CHOOSE, now, of, asked, _in_order(tried), left, self._asked)
            scribe.put((*event, outcome))
            raise
        to = 0 if choice.request is None else scribe.request(choice.request)
        event = (kinds.CHOOSE, now, of, asked, _in_order(tried), left, self._asked)
        scribe.put((*event, (choice.tier.name, choice.reason, to, *scribe.decided(choice.decision))))
        return choice

    def preview(self, request: RequestView, now: float) -> Decision:
        """Policies reckon anew when they are asked: so it is written down, though nothing is decided."""
        scribe = self._scribe
        asked = scribe.request(request)
        try:
            return super().preview(request, now)
        finally:
            scribe.put((kinds.QUOTE, now, 0, asked, ()))

    def preview_choice(self, plan: Plan, request: RequestView, now: float) -> Choice:
        assert self.tiering is not None
        scribe, self._asked = self._scribe, []
        of = scribe.plan(plan, self.tiering.calibration)
        asked = scribe.request(request, keys=False)
        try:
            return super().preview_choice(plan, request, now)
        finally:
            scribe.put((kinds.QUOTE, now, of, asked, self._asked))

    def _retarget(self, request: RequestView, model: str, among: frozenset[ReplicaId] | None) -> RequestView:
        view = super()._retarget(request, model, among)
        self._asked.append(self._scribe.request(view))
        return view

    def admit(self, decision: Decision, now: float) -> Decision:
        replica, scribe, admitted = self.fleet[decision.replica], self._scribe, False
        if replica.terms is None:
            return decision
        try:
            decision = super().admit(decision, now)
            admitted = True
        finally:
            scribe.put((kinds.ADMIT, now, scribe.replica(replica), admitted))
        return decision

    def dispatch(self, request: RequestView, decision: Decision, now: float) -> Charge:
        charge = super().dispatch(request, decision, now)
        scribe = self._scribe
        asked = scribe.request(request)
        self._attempts += 1
        self._numbers[charge] = self._attempts
        pinned, number = decision.reason == PINNED, scribe.replica(charge.replica)
        scribe.put((kinds.DISPATCH, now, self._attempts, asked, number, pinned))
        scribe.check()
        return charge

    def first_token(self, charge: Charge, now: float) -> None:
        if charge.first_token_at is None and charge in self._numbers:
            super().first_token(charge, now)
            self._scribe.put((kinds.FIRST_TOKEN, now, self._numbers[charge]))

    def ended(self, charge: Charge, now: float, usage: Usage | None, *, output_events: int = 0) -> None:
        number = self._numbers.pop(charge, None)
        if number is not None:
            super().ended(charge, now, usage, output_events=output_events)
            self._scribe.put((kinds.ENDED, now, number, usage, output_events))

    # -- what the world reports

    def answered(self, replica: ReplicaState, now: float, *, sent_at: float) -> bool:
        changed = super().answered(replica, now, sent_at=sent_at)
        scribe = self._scribe
        scribe.put((kinds.ANSWERED, now, scribe.replica(replica), sent_at))
        return changed

    def declined(self, replica: ReplicaState, now: float, retry_after_s: float | None = None) -> None:
        super().declined(replica, now, retry_after_s)
        scribe = self._scribe
        scribe.put((kinds.DECLINED, now, scribe.replica(replica), retry_after_s))

    def failed(
        self, replica: ReplicaState, error: str, now: float, *, refused: bool = False, dead: bool = False
    ) -> bool:
        changed = super().failed(replica, error, now, refused=refused, dead=dead)
        scribe = self._scribe
        flags = refused * REFUSED | dead * DEAD
        scribe.put((kinds.FAILED, now, scribe.replica(replica), flags))
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
        changed = super().probed(replica, asked_at, now, error=error, refused=refused, generated=generated)
        scribe = self._scribe
        flags = bool(error) * ERROR | refused * PORT_CLOSED | generated * GENERATED
        scribe.put((kinds.PROBED, now, scribe.replica(replica), asked_at, flags))
        return changed

    def sampled(self, replica: ReplicaState, sample: EngineSample, in_flight_when_asked: int) -> bool:
        restarted = super().sampled(replica, sample, in_flight_when_asked)
        scribe = self._scribe
        changed, told = scribe.sample(replica, sample)
        event = (kinds.SAMPLED, sample.taken_at, scribe.replica(replica), in_flight_when_asked, changed)
        scribe.put((*event, *told))
        return restarted

    def saw_gpus(self, replica: ReplicaState, state: GpuState, now: float) -> None:
        super().saw_gpus(replica, state, now)
        scribe = self._scribe
        told = state.condition, state.slow, state.share
        scribe.put((kinds.GPUS, now, scribe.replica(replica), *told))

    def unread(self, replica: ReplicaState, now: float, *, answered: bool) -> None:
        super().unread(replica, now, answered=answered)
        scribe = self._scribe
        scribe.put((kinds.UNREAD, now, scribe.replica(replica), answered))


def _in_order(tried: frozenset[ReplicaId]) -> Sequence[ReplicaId]:
    return sorted(tried) if tried else ()


def _outcome(scribe: Scribe, decision: Decision | Refused) -> Outcome:
    return scribe.refused(decision) if isinstance(decision, Refused) else scribe.decided(decision)
