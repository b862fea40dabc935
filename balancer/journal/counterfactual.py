"""What another policy would have done with the requests of a journal, and what a model says of that.

    known    requests and when they came; who was there, how well, what its cache could hold; what was decided and came of it
    model    TTFT, of what happened as of what did not, by the same model (model.py); what replicas would have held, by the prefix
             index of the same size

The other policy has a world of its own: it sends what it is asked, to replicas that are healthy when the real ones were. There a
request begins when the model says so, and then takes as long as it really took; what failed or was cancelled ends at once. Its
engines tell of no memory and no queue of their own, so policies that read these see nothing there. A request that was tried
again counts once, as it was decided first. Of tiers the recorded one stays: only the replica within is chosen anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import NamedTuple

from balancer.core.errors import Refused
from balancer.core.fleet.replica import ReplicaState
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling import Charge, Policy, Waiting
from balancer.core.scheduling.predicted_latency import PredictedLatency
from balancer.core.types import Decision, ReplicaId, Usage
from balancer.journal import kinds
from balancer.journal.book import Asked
from balancer.journal.counts import Made
from balancer.journal.frames import Event
from balancer.journal.model import Modelled, sent_there
from balancer.journal.replayer import Facts, Replayer, state_of
from balancer.journal.rerun import Rerun
from balancer.journal.scribe import KEPT

NOBODY: frozenset[ReplicaId] = frozenset()
REFUSED = "(refused)"
TICK_S = 0.02
"""How often a balancer looks at who waits in it."""

_HEALTH = (
    "health", "fault", "ejection", "failing_since_s", "warm_from_s", "busy_until_s", "declines", "draining", "gpu",
)  # fmt: skip


class Outcome(NamedTuple):
    """What came of a request's first attempt: seconds to its first token, if it told of one, and to its end."""

    ttft_s: float | None
    whole_s: float
    usage: Usage | None
    output_events: int


class Outcomes:
    """Read before all else, since a world of its own has to know how long an answer will take."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[int, float, float | None]] = {}
        self._of: dict[int, Outcome] = {}

    def get(self, request: int) -> Outcome | None:
        return self._of.get(request)

    def feed(self, event: Event) -> None:
        match event:
            case [kinds.DISPATCH, float(now), int(attempt), int(request), *_] if request not in self._of:
                self._open[attempt] = request, now, None
            case [kinds.FIRST_TOKEN, float(now), int(attempt)] if attempt in self._open:
                request, sent_at, _ = self._open[attempt]
                self._open[attempt] = request, sent_at, now
            case [kinds.ENDED, float(now), int(attempt), usage, int(events)] if attempt in self._open:
                request, sent_at, first_at = self._open.pop(attempt)
                told = Usage(*usage) if isinstance(usage, list) else None
                ttft_s = None if first_at is None else first_at - sent_at
                self._of.setdefault(request, Outcome(ttft_s, now - sent_at, told, events))


@dataclass(slots=True)
class Row:
    """One request, in both worlds. Seconds from its arrival on; None: it was not sent, or nothing is known."""

    prompt_tokens: int
    recorded: str = ""
    other: str = ""
    actual_s: float | None = None
    modelled_s: float | None = None
    other_s: float | None = None
    cached: int | None = None
    matched: int | None = None
    other_matched: int | None = None


class World:
    """A decider of ours that hears of replicas what the recorded one heard, and whose attempts are ours."""

    def __init__(self, policy: Policy) -> None:
        self.decider = Rerun(policy)
        self.states: dict[int, ReplicaState] = {}
        self.numbers: dict[ReplicaState, int] = {}

    def join(self, number: int, state: ReplicaState) -> None:
        self.states[number] = state
        self.numbers[state] = number
        self.decider.join(state)

    def see(self, states: Mapping[int, ReplicaState]) -> None:
        """How the replicas are."""
        for number, state in self.states.items():
            real = states[number]
            for name in _HEALTH:
                setattr(state, name, getattr(real, name))


class Counterfactual(Replayer):
    """`rows` are filled while it is fed."""

    def __init__(
        self, make: Callable[[Facts], Policy], other: Callable[[Facts], Policy], outcomes: Outcomes
    ) -> None:
        super().__init__(make)
        self._other = other
        self._outcomes = outcomes
        self.rows: list[Row] = []

    def restart(self) -> None:
        super().restart()
        blocks, other = int(self.facts["index_max_blocks"]), self._other(self.facts)
        self._model = PredictedLatency(PrefixIndex(blocks))
        self._modelled = Modelled(PrefixIndex(blocks), self._model.speed_of)
        if isinstance(other, PredictedLatency):
            other = Modelled(PrefixIndex(blocks), self._model.speed_of)
        self._real, self._world, self._made_up = World(self._model), World(other), World(self._modelled)
        self._worlds = self._real, self._world, self._made_up  # who lends its speeds goes first
        self._arrived: dict[int, tuple[Row, float]] = {}
        self._attempts: dict[int, tuple[Charge, Row, float]] = {}
        self._held: dict[Waiting, tuple[Asked, Row, float]] = {}
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        self._put_in = 0
        self._ticking = False

    # -- replicas, as they were

    def _join(self, event: Event) -> None:
        super()._join(event)
        for world in self._worlds:
            world.join(event[1], state_of(event))

    def _leave(self, event: Event) -> None:
        super()._leave(event)
        for world in self._worlds:
            world.decider.leave(world.states[event[1]])

    def _serves(self, event: Event) -> None:
        super()._serves(event)
        for world in self._worlds:
            world.decider.serves(world.states[event[1]], frozenset(event[2]))

    def _bound(self, event: Event) -> None:
        super()._bound(event)
        _, number, *limits = event
        for world in self._worlds:
            world.decider.bound(world.states[number], *limits)

    def _configure(self, event: Event) -> None:
        super()._configure(event)
        rules, fleet = self.decider, self.decider.fleet
        for world in self._worlds:
            world.decider.configure(
                rules.health,
                rules.line.limits,
                panic_threshold=fleet.panic_threshold,
                warmup_s=fleet.warmup_s,
            )

    def _sampled(self, event: Event) -> None:
        super()._sampled(event)
        number = event[2]
        real = self.states[number]
        assert real.sample is not None
        self._real.states[number].sampled(real.sample, event[3])
        for world in (self._world, self._made_up):
            state = world.states[number]
            running = real.foreign + state.in_flight
            state.sampled(replace(real.sample, running=running, waiting=None, kv_usage=None), 0)
        self._caches()

    def _probed(self, event: Event) -> None:
        super()._probed(event)
        self._caches()

    def _failed(self, event: Event) -> None:
        super()._failed(event)
        self._caches()

    def _gpus(self, event: Event) -> None:
        before = self.states[event[2]].gpu.slow
        super()._gpus(event)
        _, _, number, _, slow, _ = event
        if slow != before and self.states[number] in self.decider.fleet:
            for world in self._worlds:
                world.decider.policy.slowed(world.states[number], slow / before)
        self._caches()

    def _caches(self) -> None:
        """What became of caches becomes of them everywhere."""
        told = self.decider
        for changed, size in ((told.emptied, False), (told.sized, True)):
            while changed:
                real = changed.pop()
                number = next((n for n, state in self.states.items() if state is real), None)
                if number is None or real not in told.fleet:
                    continue
                capacity = real.sample and real.sample.kv_capacity_tokens
                for world in self._worlds:
                    state = world.states[number]
                    if not size:
                        world.decider.policy.forgot(state)
                    elif capacity:
                        world.decider.policy.sized(state, max(1, round(real.gpu.share * capacity)))

    # -- requests, as they were, by the model

    def arrived(self, asked: Asked, recorded: Made, now: float, *, again: bool) -> None:
        if again:
            return
        self._pass(now)
        row = Row(asked.view.prompt_tokens)
        if not isinstance(recorded, tuple):
            row.recorded = REFUSED
        self.rows.append(row)
        self._arrived[asked.number] = row, now
        self._arrived.pop(asked.number - KEPT, None)
        self._decide_anew(asked, row, now)

    def sent(self, attempt: int, asked: Asked, replica: int, now: float) -> None:
        state = self._real.states[replica]
        decision = sent_there(self._model, asked.view, state, now)
        charge = self._real.decider.dispatch(asked.view, decision, now)
        row, since = self._arrived.pop(asked.number, (Row(0), now))
        row.recorded = state.id
        row.modelled_s = now - since + (decision.predicted_s or 0.0)
        row.matched = decision.matched_tokens
        self._attempts[attempt] = charge, row, since

    def began(self, attempt: int, now: float) -> None:
        charge, row, since = self._attempts[attempt]
        self._real.decider.first_token(charge, now)
        row.actual_s = now - since

    def over(self, attempt: int, usage: Usage | None, output_events: int, now: float) -> None:
        charge, row, _ = self._attempts.pop(attempt)
        self._real.decider.ended(charge, now, usage, output_events=output_events)
        if usage is not None:
            row.cached = usage.cached_tokens

    # -- and as the other policy has it

    def _decide_anew(self, asked: Asked, row: Row, now: float) -> None:
        world = self._world
        world.see(self.states)
        try:
            decision = world.decider.decide(asked.view, NOBODY, now)
            if decision.wait:
                waiting = world.decider.line.join(asked.view, decision, now)
                self._held[waiting] = asked, row, now
                self._let_go(now)
                return
        except Refused:
            row.other = REFUSED
            return
        self._send(asked, row, now, decision, now)

    def _send(self, asked: Asked, row: Row, since: float, decision: Decision, now: float) -> None:
        world, made_up = self._world, self._made_up
        charge = world.decider.dispatch(asked.view, decision, now)
        state = made_up.states[world.numbers[charge.replica]]
        guess = sent_there(self._modelled, asked.view, state, now)
        guessed = made_up.decider.dispatch(asked.view, guess, now)
        predicted_s = guess.predicted_s or 0.0
        row.other, row.other_s = decision.replica, now - since + predicted_s
        row.other_matched = guess.matched_tokens
        outcome, first_at = self._outcomes.get(asked.number), now + predicted_s
        usage, rest_s, events = None, 0.0, 0
        if outcome is not None:
            usage, events = outcome.usage, outcome.output_events
            if outcome.ttft_s is not None:
                rest_s = outcome.whole_s - outcome.ttft_s
            elif usage is not None:
                rest_s = max(0.0, outcome.whole_s - predicted_s)
        if usage is not None:
            usage = usage._replace(cached_tokens=None)  # those of another replica

        def first(at: float) -> None:
            world.decider.first_token(charge, at)
            made_up.decider.first_token(guessed, at)

        def end(at: float) -> None:
            world.decider.ended(charge, at, usage, output_events=events)
            made_up.decider.ended(guessed, at, usage, output_events=events)

        if asked.view.stream:
            self._at(first_at, first)
        self._at(first_at + rest_s, end)

    def _at(self, time_s: float, action: Callable[[float], None]) -> None:
        self._put_in += 1
        heappush(self._due, (time_s, self._put_in, action))

    def _pass(self, now: float) -> None:
        """All that is due by then happens."""
        while self._due and self._due[0][0] <= now:
            at, _, action = heappop(self._due)
            action(at)
            self._let_go(at)

    def _let_go(self, now: float) -> None:
        world = self._world
        if self._held:
            world.see(self.states)
            for waiting, decision in world.decider.line.release(now):
                asked, row, since = self._held.pop(waiting)
                if isinstance(decision, Refused):
                    row.other = REFUSED
                else:
                    self._send(asked, row, since, decision, now)
        if self._held and not self._ticking:
            self._ticking = True
            self._at(now + TICK_S, self._tick)

    def _tick(self, now: float) -> None:
        self._ticking = False
