"""The ledger, under every policy: whatever happens to attempts and replicas in whatever order, each replica is charged for
exactly what is under way on it, never for less than nothing, and nothing is left behind.
"""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random
from typing import get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from balancer.config import Settings
from balancer.config.build import make_policy
from balancer.core.admission import Limits
from balancer.core.decider import Decider
from balancer.core.errors import Refused
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.core.scheduling import Charge, Waiting
from balancer.core.types import Health, RouteKind, Usage
from tests.core.scheduling.stage import asked
from tests.core.states import replica, sample
from tests.fakes.policies import OneAtATime

ONE_AT_A_TIME = OneAtATime.name
POLICIES = (*get_args(Settings.model_fields["policy"].annotation), ONE_AT_A_TIME)
pytestmark = pytest.mark.timeout(
    400
)  # a failure is told when it has been made short, which takes up to five minutes
LONG_TOKENS = 60_000
FOREVER_S = 1e6

which = st.integers(0, 30)
usages = st.none() | st.builds(
    Usage, st.integers(0, 5000), st.integers(0, 500), st.none() | st.integers(0, 5000)
)


@dataclass(eq=False)
class Attempt:
    """What the model knows of one: what it owes until its first token, and where."""

    charge: Charge
    owed_tokens: int
    tried: frozenset


class Ledger(RuleBasedStateMachine):
    policy = ""

    @initialize(
        seed=st.integers(0, 99),
        limits=st.builds(Limits, st.none() | st.integers(0, 3), st.none() | st.just(5.0)),
        most_each=st.none() | st.integers(1, 3),
    )
    def begin(self, seed, limits, most_each):
        self.now = 100.0
        self.joined = 0
        self.most_each = most_each
        if self.policy == ONE_AT_A_TIME:
            policy = OneAtATime()
        else:
            given = {"replicas": ["http://a"], "policy": self.policy, "index_max_blocks": 40}
            policy = make_policy(Settings.model_validate(given), Random(seed).random)
        self.fleet = Fleet([self.new() for _ in range(3)])
        self.decider = self.make_decider(policy, limits, seed)
        self.states = list(self.fleet)  # and all that have gone
        self.open = []
        self.over = []
        self.held = []

    def make_decider(self, policy, limits, seed):
        return Decider(self.fleet, policy, HealthPolicy(), limits)

    def new(self, name=None):
        self.joined += 1
        state = replica(name or f"r{self.joined}")
        state.max_in_flight = self.most_each
        return state

    # -- requests

    def send(self, request, decision, tried):
        charge = self.decider.dispatch(request, decision, self.now)
        assert charge.replica is self.fleet[decision.replica]
        self.open.append(Attempt(charge, decision.uncached_tokens, tried))

    def attempt(self, request, tried=frozenset()):
        try:
            decision = self.decider.decide(request, tried, self.now)
        except Refused:
            return
        assert decision.replica not in tried
        if not decision.wait:
            self.send(request, decision, tried)
            return
        with suppress(Refused):
            self.held.append(self.decider.line.join(request, decision, self.now, tried))

    @rule(
        text=st.text("pqr", max_size=5),
        more=st.sampled_from([0, 0, LONG_TOKENS]),
        stream=st.booleans(),
        route=st.sampled_from([RouteKind.CHAT, RouteKind.CHAT, RouteKind.EMBEDDINGS, RouteKind.OTHER]),
        session=st.none() | st.sampled_from("st"),
        order=st.fixed_dictionaries(
            {},
            optional={
                "priority": st.integers(-1, 1),
                "tenant": st.sampled_from("xy"),
                "deadline": st.sampled_from([110.0, 200.0]),
            },
        ),
        times=st.integers(1, 4),
    )
    def asks(self, text, more, stream, route, session, order, times):
        request = asked(text, session)
        tokens = request.prompt_tokens + more
        for _ in range(times):
            self.attempt(replace(request, prompt_tokens=tokens, stream=stream, route=route, **order))

    @precondition(lambda self: self.held)
    @rule(number=which)
    def leaves_the_line(self, number):
        waiting = self.held.pop(number % len(self.held))
        self.decider.line.leave(waiting)
        self.decider.line.leave(waiting)

    @rule()
    def stirs(self):
        for waiting, decision in self.decider.line.release(self.now):
            self.held.remove(waiting)
            if not isinstance(decision, Refused):
                assert decision.replica not in waiting.tried
                self.send(waiting.request, decision, waiting.tried)

    # -- attempts

    def chosen(self, number):
        return self.open[number % len(self.open)]

    def end(self, attempt, usage=None, events=0):
        self.decider.ended(attempt.charge, self.now, usage, output_events=events)
        self.open.remove(attempt)
        self.over.append(attempt)

    @precondition(lambda self: self.open)
    @rule(number=which)
    def first_token(self, number):
        attempt = self.chosen(number)
        self.decider.first_token(attempt.charge, self.now)
        attempt.owed_tokens = 0

    @precondition(lambda self: self.open)
    @rule(number=which, usage=usages, events=st.integers(0, 500))
    def is_answered(self, number, usage, events):
        attempt = self.chosen(number)
        self.end(attempt, usage, events)
        self.decider.answered(attempt.charge.replica, self.now, sent_at=attempt.charge.sent_at)

    @precondition(lambda self: self.open)
    @rule(number=which)
    def is_cancelled(self, number):
        self.end(self.chosen(number))

    @precondition(lambda self: self.open)
    @rule(number=which, how=st.sampled_from(["refused", "dead", "timed out", "busy"]), again=st.booleans())
    def fails(self, number, how, again):
        attempt = self.chosen(number)
        state = attempt.charge.replica
        if how != "busy":
            self.decider.failed(state, how, self.now, refused=how == "refused", dead=how == "dead")
        self.end(attempt)
        if again:
            self.attempt(attempt.charge.request, attempt.tried | {state.id})

    @precondition(lambda self: self.over)
    @rule(number=which, usage=usages)
    def is_told_of_again_when_it_is_over(self, number, usage):
        attempt = self.over[number % len(self.over)]
        self.decider.first_token(attempt.charge, self.now)
        self.decider.ended(attempt.charge, self.now, usage, output_events=7)

    # -- replicas

    def swap(self, old, new):
        """As a reload of the configuration has it: attempts that run go on, and are released late."""
        if old is not None:
            self.decider.leave(old)
        if new is not None:
            self.decider.join(new)
            self.states.append(new)

    def some(self, number):
        replicas = list(self.fleet)
        return replicas[number % len(replicas)]

    @precondition(lambda self: len(self.fleet) > 1)
    @rule(number=which)
    def a_replica_is_removed(self, number):
        self.swap(self.some(number), None)

    @precondition(lambda self: len(self.fleet) < 5)
    @rule()
    def a_replica_is_added(self):
        self.swap(None, self.new())

    @rule(number=which)
    def a_replica_is_replaced_by_one_of_its_name(self, number):
        old = self.some(number)
        self.swap(old, self.new(old.id))

    @rule(
        number=which,
        waiting=st.none() | st.integers(0, 9),
        running=st.none() | st.integers(0, 300),
        kv_usage=st.none() | st.floats(0, 1),
        start=st.none() | st.sampled_from([1000.0, 2000.0, 3000.0]),
        capacity=st.none() | st.integers(0, 100_000),
        asleep=st.none() | st.booleans(),
    )
    def is_read(self, number, waiting, running, kv_usage, start, capacity, asleep):
        """A later start tells of a restart: its requests end by themselves. Those that have gone are read a last time."""
        state = self.states[number % len(self.states)]
        signals = {"waiting": waiting, "running": running, "kv_usage": kv_usage, "asleep": asleep}
        reading = sample(self.now, process_start_time_s=start, kv_capacity_tokens=capacity, **signals)
        self.decider.sampled(state, reading, state.in_flight)

    @rule(
        number=which, error=st.sampled_from(["", "", "slow"]), refused=st.booleans(), generated=st.booleans()
    )
    def is_probed(self, number, error, refused, generated):
        state = self.states[number % len(self.states)]
        self.decider.probed(state, self.now, self.now, error=error, refused=refused, generated=generated)

    @rule(number=which, draining=st.booleans())
    def is_drained_or_taken_up_again(self, number, draining):
        self.decider.drain(self.some(number), draining=draining, now=self.now)

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds):
        self.now += seconds

    # -- the law

    @invariant()
    def each_is_charged_for_what_is_under_way_on_it(self):
        if not hasattr(self, "open"):
            return
        for state in self.states:
            there = [attempt for attempt in self.open if attempt.charge.replica is state]
            owed = [attempt.owed_tokens for attempt in there]
            assert state.in_flight == len(there)
            assert state.pending_tokens == sum(attempt.charge.pending_tokens for attempt in there)
            if self.policy == "predicted_latency":  # takes prefill for done before it hears of it
                assert 0 <= state.pending_tokens <= sum(owed)
            else:
                assert state.pending_tokens == sum(owed)
        assert len(self.decider.line) + len(self.decider.line._refusals) == len(self.held)

    def teardown(self):
        if not hasattr(self, "open"):
            return
        for attempt in list(self.open):
            self.end(attempt)
        for waiting in self.held:
            self.decider.line.leave(waiting)
        assert len(self.decider.line) == 0
        self.fleet.settle()
        assert not self.fleet.leaving
        self.held = []
        for state in self.states:
            assert (state.in_flight, state.pending_tokens) == (0, 0)
            state.health, state.ejection = Health.HEALTHY, None  # which keeps its last trial
            state.draining = False
        self.now += FOREVER_S  # policies may remember for a while
        self.decider.decide(asked("p"), frozenset(), self.now)
        left = {type(each).__name__ for each in reachable(self.decider) if isinstance(each, Charge | Waiting)}
        assert not left, f"still remembered: {left}"


def reachable(root):
    """All that an object of ours holds on to."""
    seen, found = set(), deque([root])
    while found:
        each = found.pop()
        if id(each) in seen or each is None:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, dict):
            found.extend((*each.keys(), *each.values()))
        elif isinstance(each, list | tuple | set | frozenset | deque):
            found.extend(each)
        elif type(each).__module__.startswith(("balancer.", "tests.")):
            slots = [name for cls in type(each).__mro__ for name in getattr(cls, "__slots__", ())]
            found.extend(getattr(each, name, None) for name in slots)
            found.extend(getattr(each, "__dict__", {}).values())


def _case(name):
    machine = type(f"Ledger_{name}", (Ledger,), {"policy": name})
    examples = max(10, settings.default.max_examples // 5)
    machine.TestCase.settings = settings(max_examples=examples, stateful_step_count=50)
    return machine.TestCase


for _name in POLICIES:
    globals()[f"TestUnder_{_name}"] = _case(_name)
