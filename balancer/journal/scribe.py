"""How what decisions see is written: events into blocks, and blocks to a sink that never waits. Nothing is encoded here: that is
the sink's business, a block at a time.

Prompts are not: of a request there are its block keys, sizes, model, tenant and order; sessions and conversations as hashes, as
core/scheduling/session.py knows them; of a text what the choice of a tier reads in it, in numbers.

When the sink takes a block no more, what was in it is lost, and what follows begins anew, as a new file does: with all that is
there, and a count of what is missing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol

from xxhash import xxh3_128_digest

from balancer.core.errors import Refused
from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling.session import hashed
from balancer.core.tiering.memory import Calibration
from balancer.core.tiering.sticky import read_signs
from balancer.core.tiering.types import Plan, StrongShare, Target, Threshold, Tier, VirtualModel
from balancer.core.types import Decision, EngineSample, RequestView
from balancer.journal import kinds
from balancer.journal.chains import ChainWriter

BLOCK = 1000
"""Events."""
KEPT = 1 << 14
"""A request or plan that is called again after so many others is written again."""

STREAM, EXACT, FOLLOWS = 1, 2, 4
"""Flags of a request."""

SAMPLE_FIELDS = tuple(field.name for field in fields(EngineSample) if field.name != "taken_at")
_UNSEEN = (object(),) * len(SAMPLE_FIELDS)

Outcome = int | tuple[Any, ...]
"""The status of a refusal, or a decision."""


class Sink(Protocol):
    @property
    def full(self) -> bool:
        """Whether what comes next belongs into a new file."""
        ...

    def take(self, events: list[Sequence[Any]], *, begins: bool) -> bool:
        """Events that nobody changes any more; `begins`: nothing before them is needed to read them. False: they are lost."""
        ...


class Scribe:
    """`facts` are told at the beginning of each file; `present` writes what is there then. `decisions` counts."""

    def __init__(self, sink: Sink, facts: Mapping[str, Any], present: Callable[[], None]) -> None:
        self._sink = sink
        self._facts = facts
        self._present = present
        self._files = 0
        self._lost = 0
        self._requests = 0
        self._plans = 0
        self._replicas: dict[ReplicaState, int] = {}
        self._joined = 0
        self.decisions = 0

    # -- blocks

    def begin(self) -> None:
        """What comes now can be read without what was before."""
        self._start_block(begins=True)
        self._chains = ChainWriter()
        self._first_request, self._first_plan = self._requests, self._plans
        self._samples: dict[ReplicaState, tuple[Any, ...]] = {}
        self._virtuals: dict[VirtualModel, int] = {}
        self._tiers: dict[Tier, int] = {}
        facts = {**self._facts, "file": self._files, "lost": self._lost, "decisions": self.decisions}
        self._files += 1
        self.put((kinds.BEGIN, facts))
        self._present()

    def _start_block(self, *, begins: bool) -> None:
        self._events: list[Sequence[Any]] = []
        self._begins = begins
        self.put = self._events.append

    def check(self) -> None:
        """Hand over what there is, if it is a block."""
        if len(self._events) >= BLOCK:
            self.flush()

    def flush(self) -> None:
        """Hand over what there is."""
        events = self._events
        if not events:
            return
        if not self._sink.take(events, begins=self._begins):
            self._lost += len(events)
            self.begin()
        elif self._sink.full:
            self.begin()
        else:
            self._start_block(begins=False)

    # -- nouns; each returns what it is called by

    def joins(self, replica: ReplicaState) -> int:
        self._joined += 1
        self._replicas[replica] = self._joined
        return self._joined

    def replica(self, replica: ReplicaState) -> int:
        return self._replicas[replica]

    def forget(self, known: Callable[[ReplicaState], bool]) -> None:
        """Those replicas that are not known any more."""
        self._replicas = {state: number for state, number in self._replicas.items() if known(state)}

    def state(self, replica: ReplicaState) -> tuple[Any, ...]:
        models = None if replica.models is None else sorted(replica.models)
        external = replica.external
        return (
            replica.id,
            models,
            replica.max_in_flight,
            replica.draining,
            replica.health,
            external,
        )

    def request(self, view: RequestView, *, keys: bool = True) -> int:
        """Without `keys`, if it is not sent as it is: those that it is asked of have their own."""
        number = view.number
        if number > self._first_request and self._requests - number < KEPT:
            return number
        self._requests += 1
        number = view.number = self._requests
        flags = (
            view.stream * STREAM | view.tokens_exact * EXACT | (view.previous_response is not None) * FOLLOWS
        )
        place, new = self._chains.write(view.block_keys if keys else ())
        event: list[Any] = [kinds.REQUEST, number, view.route, view.model, flags]
        event += [view.prompt_bytes, view.prompt_tokens, place, new, *self._who(view)]
        rest = (
            view.tenant,
            view.priority,
            view.deadline,
            None if view.among is None else sorted(view.among),
        )
        if rest != ("", 0, None, None):
            event += rest
        self.put(event)
        return number

    @staticmethod
    def _who(view: RequestView) -> tuple[bytes | None, bool]:
        """The session, else the conversation: nobody looks at both."""
        if view.session is not None:
            return bytes.fromhex(hashed(view.session)[1:]), True
        return view.conversation or None, False

    def plan(self, plan: Plan, calibration: Calibration) -> int:
        if plan.number > self._first_plan and self._plans - plan.number < KEPT:
            return plan.number
        virtual = self._virtual(plan.virtual, calibration)
        options = [self._tier(tier) for tier in plan.options]
        reserve = [self._tier(tier) for tier in plan.reserve]
        self._plans += 1
        plan.number = self._plans
        if plan.signs is None:
            plan.signs = read_signs(plan.text)
        score, before = plan.score, plan.choice
        chosen = None
        if before is not None:
            tier = self._tier(before.tier)
            chosen = tier, before.reason, before.threshold, before.propensity, before.shadow
        self.put(
            (
                kinds.PLAN,
                plan.number,
                virtual,
                options,
                reserve,
                [(each.to, sorted(each.on)) for each in plan.chain],
                (plan.ask.threshold, plan.ask.order, plan.ask.sort, plan.ask.allow_fallbacks),
                None if score is None else (score.value, score.spread, score.known, score.qualities),
                xxh3_128_digest(plan.conversation) if plan.conversation else b"",
                plan.tenant,
                plan.draw,
                plan.rating,
                plan.forced,
                bool(plan.rule),
                (plan.text.turns, plan.text.answer_tokens),
                plan.signs,
                chosen,
            )
        )
        return plan.number

    def other_tiers(self) -> None:
        """What virtual models are is told anew: they may be calibrated otherwise."""
        self._virtuals.clear()

    def _virtual(self, virtual: VirtualModel, calibration: Calibration) -> int:
        number = self._virtuals.get(virtual)
        if number is None:
            number = self._virtuals[virtual] = len(self._virtuals)
            event = (
                kinds.VIRTUAL,
                number,
                virtual.name,
                virtual.tiers,
                _target(virtual.target),
                virtual.default,
            )
            self.put((*event, virtual.sticky, virtual.shadow, virtual.explore, calibration(virtual)))
        return number

    def _tier(self, tier: Tier) -> int:
        number = self._tiers.get(tier)
        if number is None:
            number = self._tiers[tier] = len(self._tiers)
            replicas = None if tier.replicas is None else sorted(tier.replicas)
            event = (kinds.OPTION, number, tier.name, tier.model, replicas, tier.price)
            self.put((*event, tier.replica_usd_per_hour, tier.external))
        return number

    def sample(self, replica: ReplicaState, sample: EngineSample) -> tuple[int, list[Any]]:
        """Which fields have changed since the last one of this replica, as bits, and these."""
        values = tuple(getattr(sample, name) for name in SAMPLE_FIELDS)
        before = self._samples.get(replica, _UNSEEN)
        self._samples[replica] = values
        changed, told = 0, []
        for place, (old, new) in enumerate(zip(before, values, strict=True)):
            if old != new:
                changed |= 1 << place
                told.append(new)
        return changed, told

    # -- outcomes

    def decided(self, decision: Decision) -> tuple[Any, ...]:
        self.decisions += 1
        replica, reason, matched, _, _, wait, predicted_s = decision
        return replica, reason, matched, wait, predicted_s

    def refused(self, refused: Refused) -> int:
        self.decisions += 1
        return refused.status


def _target(target: Target) -> tuple[str, float]:
    match target:
        case StrongShare(share):
            return "share", share
        case Threshold(score):
            return "threshold", score
        case _:
            return "floor", target.floor
