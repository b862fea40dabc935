"""A journal's events, made again with a Decider of our own: whether the same comes of them.

What a beginning in the middle does not tell is not known: attempts from before it are passed over, and decisions after it may
differ for that alone, so they are counted apart.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from balancer.core.admission import Limits
from balancer.core.admission.line import Released
from balancer.core.errors import Refused
from balancer.core.fleet.gpu import Condition, GpuState
from balancer.core.fleet.health import HealthPolicy
from balancer.core.fleet.replica import ReplicaState, Terms
from balancer.core.scheduling import Charge, Policy, Waiting
from balancer.core.tiering.types import Trouble
from balancer.core.types import Decision, Health, ReplicaId, Usage
from balancer.journal import kinds
from balancer.journal.book import Asked, Book
from balancer.journal.counts import Counts, Difference, Made
from balancer.journal.frames import Event
from balancer.journal.recorder import DEAD, ERROR, GENERATED, PORT_CLOSED, REFUSED
from balancer.journal.rerun import Rerun

Facts = Mapping[str, Any]


class JournalError(Exception):
    """An event that makes no sense."""


class Replayer:
    """`make` makes the policy by what a beginning tells; `states` are the replicas by the journal's numbers."""

    def __init__(self, make: Callable[[Facts], Policy]) -> None:
        self._make = make
        self.counts = Counts()
        self.facts: Facts = {}
        self.book = Book()
        self.states: dict[int, ReplicaState] = {}
        self._whole = True
        self._waiting: dict[int, tuple[Waiting, Asked]] = {}
        self._charges: dict[int, Charge] = {}
        self._release: Iterator[Released] = iter(())
        self._handlers = self._by_kind()

    def feed(self, event: Event) -> None:
        """Raises: JournalError, if it makes no sense."""
        try:
            self._handlers[event[0]](event)
        except Exception as error:  # a defect is told as well: which event it was of
            detail = f"{type(error).__name__}: {error}"
            raise JournalError(
                f"event of kind {event[:1]}, decision {self.counts.decisions}: {detail}"
            ) from error

    def _by_kind(self) -> list[Callable[[Event], None]]:
        known = {
            kinds.BEGIN: self._begin,
            kinds.REPLICA: self._replica,
            kinds.CONFIGURE: self._configure,
            kinds.JOIN: self._join,
            kinds.LEAVE: self._leave,
            kinds.DRAIN: self._drain,
            kinds.SERVES: self._serves,
            kinds.BOUND: self._bound,
            kinds.TIER: self._tier,
            kinds.REQUEST: self.book.request,
            kinds.VIRTUAL: self.book.plans.virtual,
            kinds.OPTION: self.book.plans.option,
            kinds.PLAN: self.book.plans.plan,
            kinds.DECIDE: self._decide,
            kinds.CHOOSE: self._choose,
            kinds.ADMIT: self._admit,
            kinds.DISPATCH: self._dispatch,
            kinds.FIRST_TOKEN: self._first_token,
            kinds.ENDED: self._ended,
            kinds.ANSWERED: self._answered,
            kinds.DECLINED: self._declined,
            kinds.FAILED: self._failed,
            kinds.PROBED: self._probed,
            kinds.SAMPLED: self._sampled,
            kinds.UNREAD: self._unread,
            kinds.WAITS: self._waits,
            kinds.WAITS_NO_MORE: self._waits_no_more,
            kinds.RELEASE: self._releases,
            kinds.RELEASED: self._released,
            kinds.RELEASE_ENDS: self._release_ends,
            kinds.GPUS: self._gpus,
            kinds.QUOTE: self._quote,
        }
        return [known[kind] for kind in range(len(known))]

    # -- beginnings

    def _begin(self, event: Event) -> None:
        facts, before = event[1], self.facts
        self.facts = facts
        self.book.begin()
        lost = facts["lost"] - (before.get("lost", 0) if facts["follows"] else 0)
        self.counts.lost_events += lost
        if facts["follows"] and not lost:
            return
        self._whole = not facts["file"] and not facts["lost"]
        self.counts.runs += not facts["follows"]
        self.restart()

    def restart(self) -> None:
        """Nothing is known of what was before."""
        self.decider = Rerun(self._make(self.facts))
        self.states.clear()
        self._waiting.clear()
        self._charges.clear()

    def _replica(self, event: Event) -> None:
        if event[1] not in self.states:
            self._join(event)

    # -- the fleet

    def _join(self, event: Event) -> None:
        state = self.states[event[1]] = state_of(event)
        self.decider.join(state)

    def _leave(self, event: Event) -> None:
        self.decider.leave(self.states[event[1]])

    def _drain(self, event: Event) -> None:
        _, now, number, draining = event
        self.decider.drain(self.states[number], draining=draining, now=now)

    def _serves(self, event: Event) -> None:
        self.decider.serves(self.states[event[1]], frozenset(event[2]))

    def _bound(self, event: Event) -> None:
        _, number, *limits = event
        self.decider.bound(self.states[number], *limits)

    def _configure(self, event: Event) -> None:
        _, health, limits, panic_threshold, warmup_s = event
        self.decider.configure(
            msgspec.convert(health, HealthPolicy),
            msgspec.convert(limits, Limits),
            panic_threshold=panic_threshold,
            warmup_s=warmup_s,
        )

    def _tier(self, event: Event) -> None:
        _, there, anew = event
        decider = self.decider
        if anew or there != (decider.tiering is not None):
            decider.tier({} if there else None, self.book.plans.calibrated)

    # -- decisions

    def _decide(self, event: Event) -> None:
        _, now, number, some, outcome = event
        asked, tried = self.book.requests[number], frozenset(some)
        recorded = _told_of(outcome)
        replayed: Made
        try:
            asked.decision = self.decider.decide(asked.view, tried, now)
            replayed = _made(asked.decision)
        except Refused as refused:
            replayed = refused.status
        self._compare(recorded, replayed, now)
        self.arrived(asked, recorded, now, again=bool(tried))

    def _choose(self, event: Event) -> None:
        _, now, of, number, some, left, retargeted, outcome = event
        book, decider = self.book, self.decider
        asked, plan = book.requests[number], book.plans[of]
        tried = frozenset(some)
        plan.left[:] = [(name, Trouble(trouble)) for name, trouble in left]
        decider.retargeted = [book.requests[each].view for each in retargeted]
        recorded: Made = outcome
        to, where = asked, recorded
        if not isinstance(outcome, int):
            tier, reason, to_number, *decision = outcome
            to = book.requests[to_number] if to_number else asked
            where = tuple(decision)
            recorded = tier, reason, *where
        replayed: Made
        try:
            choice = decider.choose(plan, asked.view, tried, now)
            to.decision = choice.decision
            replayed = (choice.tier.name, choice.reason, *_made(choice.decision))
        except Refused as refused:
            replayed = refused.status
        self._compare(recorded, replayed, now)
        self.arrived(to, where, now, again=bool(tried or left))

    def _quote(self, event: Event) -> None:
        _, now, of, number, retargeted = event
        book, decider = self.book, self.decider
        decider.retargeted = [book.requests[each].view for each in retargeted]
        with suppress(Refused):
            if of:
                decider.preview_choice(book.plans[of], book.requests[number].view, now)
            else:
                decider.preview(book.requests[number].view, now)

    def arrived(self, asked: Asked, recorded: Made, now: float, *, again: bool) -> None:
        """A decision was made; `again`: another one was before, for the same request."""

    def _compare(self, recorded: Made, replayed: Made, now: float) -> None:
        counts = self.counts
        counts.decisions += 1
        counts.last_s = now
        if counts.first_s is None:
            counts.first_s = now
        if not self._whole:
            counts.partial += 1
            counts.partial_different += recorded != replayed
        elif recorded != replayed:
            counts.different += 1
            if counts.first is None:
                counts.first = Difference(counts.decisions, now, recorded, replayed)

    def _admit(self, event: Event) -> None:
        _, now, number, admitted = event
        decision = Decision(self.states[number].id, "")
        try:
            self.decider.admit(decision, now)
            replayed = True
        except Refused:
            replayed = False
        if replayed != admitted:
            self._compare(200 if admitted else 429, 200 if replayed else 429, now)

    def _dispatch(self, event: Event) -> None:
        _, now, attempt, number, replica, pinned = event
        asked, state = self.book.requests[number], self.states[replica]
        decision, asked.decision = asked.decision, None
        if pinned or decision is None or decision.replica != state.id:
            decision = Decision(state.id, "")
        self._charges[attempt] = self.decider.dispatch(asked.view, decision, now)
        self.sent(attempt, asked, replica, now)

    def sent(self, attempt: int, asked: Asked, replica: int, now: float) -> None:
        """An attempt was sent."""

    def _first_token(self, event: Event) -> None:
        _, now, attempt = event
        charge = self._charges.get(attempt)
        if charge is not None:
            self.decider.first_token(charge, now)
            self.began(attempt, now)

    def began(self, attempt: int, now: float) -> None:
        """Its first token came."""

    def _ended(self, event: Event) -> None:
        _, now, attempt, usage, output_events = event
        charge = self._charges.pop(attempt, None)
        if charge is not None:
            told = None if usage is None else Usage(*usage)
            self.decider.ended(charge, now, told, output_events=output_events)
            self.over(attempt, told, output_events, now)

    def over(self, attempt: int, usage: Usage | None, output_events: int, now: float) -> None:
        """It has ended."""

    # -- the line

    def _waits(self, event: Event) -> None:
        _, now, waiting, number, some, taken = event
        asked = self.book.requests[number]
        tried = frozenset(some)
        decision, asked.decision = asked.decision, None
        if decision is None:
            return  # it came out otherwise, and that was counted
        try:
            joined = self.decider.line.join(asked.view, decision, now, tried)
            self._waiting[waiting] = joined, asked
            replayed = True
        except Refused:
            replayed = False
        if replayed != taken:
            self._compare(200 if taken else 503, 200 if replayed else 503, now)

    def _waits_no_more(self, event: Event) -> None:
        found = self._waiting.pop(event[1], None)
        if found is not None:
            self.decider.line.leave(found[0])

    def _releases(self, event: Event) -> None:
        _, self._now, none = event
        self._release = self.decider.line.release(self._now)
        if none:
            self._no_more()

    def _released(self, event: Event) -> None:
        _, number, outcome = event
        recorded = _told_of(outcome)
        expected = self._waiting.pop(number, None)
        found = next(self._release, None)
        replayed: Made = 0
        if found is not None and (expected is None or found[0] is expected[0]):
            replayed = found[1].status if isinstance(found[1], Refused) else _made(found[1])
            if expected is not None and isinstance(found[1], Decision):
                expected[1].decision = found[1]
        self._compare(recorded, replayed, self._now)

    def _release_ends(self, event: Event) -> None:
        if event[1]:
            self._no_more()

    def _no_more(self) -> None:
        """Nobody else is released."""
        for _, decision in self._release:
            made = decision.status if isinstance(decision, Refused) else _made(decision)
            self._compare(0, made, self._now)

    # -- what the world reported

    def _answered(self, event: Event) -> None:
        _, now, number, sent_at = event
        self.decider.answered(self.states[number], now, sent_at=sent_at)

    def _declined(self, event: Event) -> None:
        _, now, number, retry_after_s = event
        self.decider.declined(self.states[number], now, retry_after_s)

    def _failed(self, event: Event) -> None:
        _, now, number, flags = event
        refused, dead = bool(flags & REFUSED), bool(flags & DEAD)
        self.decider.failed(self.states[number], "recorded", now, refused=refused, dead=dead)

    def _probed(self, event: Event) -> None:
        _, now, number, asked_at, flags = event
        self.decider.probed(
            self.states[number],
            asked_at,
            now,
            error="recorded" if flags & ERROR else "",
            refused=bool(flags & PORT_CLOSED),
            generated=bool(flags & GENERATED),
        )

    def _sampled(self, event: Event) -> None:
        _, taken_at, number, in_flight, changed, *told = event
        sample = self.book.sample(number, taken_at, changed, told)
        self.decider.sampled(self.states[number], sample, in_flight)

    def _gpus(self, event: Event) -> None:
        _, now, number, condition, slow, share = event
        state = GpuState(Condition(condition), slow=slow, share=share)
        self.decider.saw_gpus(self.states[number], state, now)

    def _unread(self, event: Event) -> None:
        _, now, number, answered = event
        self.decider.unread(self.states[number], now, answered=answered)


def state_of(event: Event) -> ReplicaState:
    """A replica as it joins."""
    _, _, name, models, max_in_flight, draining, health, external = event
    return ReplicaState(
        ReplicaId(name),
        "",
        models=None if models is None else frozenset(models),
        max_in_flight=max_in_flight,
        health=Health(health),
        terms=Terms() if external else None,
        draining=draining,
    )


def _told_of(outcome: int | list[Any]) -> Made:
    return outcome if isinstance(outcome, int) else tuple(outcome)


def _made(decision: Decision) -> tuple[Any, ...]:
    return decision.replica, decision.reason, decision.matched_tokens, decision.wait, decision.predicted_s
