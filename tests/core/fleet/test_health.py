"""What takes a replica out, what brings it back, and that no order of events leaves one out for ever while it answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from balancer.core.decider import Decider
from balancer.core.fleet import health
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import SLEEP_MAX_AGE_S, HealthPolicy
from balancer.core.scheduling import LeastRequests
from balancer.core.types import Fault, Health, Usage
from tests.core.fleet.scene import Scene
from tests.core.states import replica, replicas, request, sample

POLICY = HealthPolicy(
    failure_threshold=3, success_threshold=2, ejection_s=5.0, max_ejection_s=20.0, stall_s=10.0
)


def go(state, events, policy=POLICY, now=100.0):
    """`p`, `f`: a probe passed, failed; `!` a closed port; `+`, `-`: a request answered, failed; `o`: an old one answered;
    `d`: the engine said that it is dead; `z`, `a`: asleep, awake; `.` a second.
    """
    changes = []
    for event in events:
        match event:
            case "p":
                changes.append(health.probe_passed(state, policy, now))
            case "f":
                changes.append(health.probe_failed(state, policy, "e", now, now))
            case "!":
                changes.append(health.refused(state, "e", now))
            case "+" | "o":
                changes.append(health.answered(state, policy, now, now if event == "+" else now - 60))
            case "-":
                changes.append(health.request_failed(state, policy, "e", now))
            case "d":
                changes.append(health.request_failed(state, policy, "e", now, dead=True))
            case "z" | "a":
                changes.append(health.slept(state, now, asleep=event == "z"))
            case ".":
                now += 1
                changes.append(health.judged(state, (), policy, now))
    return changes


@pytest.mark.parametrize(
    ("start", "events", "end"),
    [
        (Health.UNKNOWN, "p", Health.UNKNOWN),
        (Health.UNKNOWN, "pp", Health.HEALTHY),
        (Health.UNKNOWN, "fff", Health.UNHEALTHY),
        (Health.UNKNOWN, "---", Health.EJECTED),
        (Health.UNKNOWN, "!", Health.UNHEALTHY),
        (Health.HEALTHY, "ff--", Health.HEALTHY),
        (Health.HEALTHY, "fff", Health.UNHEALTHY),
        (Health.HEALTHY, "ffpffpff", Health.HEALTHY),
        (Health.HEALTHY, "ff+ff", Health.HEALTHY),
        (Health.HEALTHY, "---", Health.EJECTED),
        (Health.HEALTHY, "--+--", Health.HEALTHY),
        (Health.HEALTHY, "-p-p-p", Health.EJECTED),  # a green probe does not cover for failing answers
        (Health.HEALTHY, "---pppp", Health.EJECTED),
        (Health.HEALTHY, "---oo", Health.EJECTED),  # it finishes what it has
        (Health.HEALTHY, "---+", Health.HEALTHY),
        (Health.HEALTHY, "---.....oo", Health.EJECTED),
        (Health.HEALTHY, "d", Health.EJECTED),
        (Health.HEALTHY, "dpppo", Health.EJECTED),
        (Health.HEALTHY, "d.....+", Health.HEALTHY),
        (Health.HEALTHY, "d!pp", Health.HEALTHY),
        (Health.HEALTHY, "!oo", Health.UNHEALTHY),
        (Health.HEALTHY, "!++", Health.HEALTHY),
        (Health.HEALTHY, "---fff", Health.UNHEALTHY),
        (Health.HEALTHY, "---fffpp", Health.EJECTED),
        (Health.HEALTHY, "---!pp", Health.HEALTHY),  # another process
        (Health.HEALTHY, "!", Health.UNHEALTHY),
        (Health.UNHEALTHY, "pfp", Health.UNHEALTHY),
        (Health.UNHEALTHY, "pp", Health.HEALTHY),
        (Health.HEALTHY, "z", Health.ASLEEP),
        (Health.HEALTHY, "zpp++", Health.ASLEEP),
        (Health.HEALTHY, "zfff---", Health.ASLEEP),
        (Health.HEALTHY, "za", Health.HEALTHY),
        (Health.HEALTHY, "---za", Health.HEALTHY),
        (Health.HEALTHY, "z!", Health.UNHEALTHY),
    ],
)
def test_transitions(start, events, end):
    state = replica(health=start)
    go(state, events)
    assert state.health is end


EVENTS = st.text("pf!+o-dza.", max_size=40)


@given(st.sampled_from(Health), EVENTS)
def test_a_change_is_told_exactly_when_there_is_one_and_has_a_reason(start, events):
    state = replica(health=start)
    for event in events:
        before = state.health
        (changed,) = go(state, event)
        assert changed == (state.health is not before)
        if changed:
            assert (state.fault is not None) == (state.health in {Health.EJECTED, Health.UNHEALTHY})
            assert state.health is not Health.EJECTED or state.ejection is not None
    assert sum(state.faults.values()) >= (state.fault is not None)


def ejected_for(state, now):
    """How long it is out when three more requests fail."""
    health.request_failed(state, POLICY, "e", now)
    health.request_failed(state, POLICY, "e", now)
    health.request_failed(state, POLICY, "e", now)
    return state.ejection.until_s - now


def test_each_ejection_is_twice_as_long_up_to_a_limit_until_it_was_well_for_long():
    state, now, terms = replica(), 0.0, []
    for _ in range(4):
        terms.append(ejected_for(state, now))
        now = state.ejection.until_s
        assert health.answered(state, POLICY, now, now)
    assert terms == [5.0, 10.0, 20.0, 20.0]
    assert ejected_for(state, now + POLICY.max_ejection_s + 1) == 5.0


def test_a_failure_on_trial_ejects_anew_for_longer_and_earlier_ones_do_not():
    state = replica()
    ejected_for(state, 0.0)
    health.request_failed(state, POLICY, "late", 4.9)
    assert state.ejection.until_s == 5.0
    assert not state.half_open(4.9)
    assert state.half_open(5.0)
    health.request_failed(state, POLICY, "on trial", 6.0)
    assert state.ejection.until_s == 16.0
    assert not state.half_open(6.0)


def test_an_answer_to_what_was_sent_before_the_failures_says_nothing_of_now():
    state = replica()
    for now in (1.0, 2.0):
        health.request_failed(state, POLICY, "e", now)
        health.answered(state, POLICY, now + 0.5, sent_at=0.5)
    assert health.request_failed(state, POLICY, "e", 3.0)
    assert not health.answered(state, POLICY, 4.0, sent_at=2.9)
    assert health.answered(state, POLICY, 4.0, sent_at=3.1)


def test_a_probe_that_fails_while_answers_arrive_says_busy():
    state = replica()
    for now in (1.0, 2.0, 3.0, 4.0):
        state.progress.heard_s = now + 0.5
        assert not health.probe_failed(state, POLICY, "slow", now + 1, asked_at=now)
    assert state.health is Health.HEALTHY


def test_a_sleep_of_which_nothing_is_heard_any_more_is_not_believed_for_ever():
    state = replica()
    state.sampled(sample(0.0, asleep=True), 0)
    health.slept(state, 0.0, asleep=True)
    assert not health.judged(state, (), POLICY, SLEEP_MAX_AGE_S)
    assert health.judged(state, (), POLICY, SLEEP_MAX_AGE_S + 1)
    assert state.health is Health.UNKNOWN


def test_the_last_error_and_its_time_are_kept():
    state = replica()
    go(state, "---", now=7.0)
    assert (state.last_error, state.last_error_at_s, state.fault) == ("e", 7.0, Fault.ERRORS)
    go(state, "....." + "+", now=7.0)
    assert (state.health, state.fault) == (Health.HEALTHY, None)
    assert state.faults == {Fault.ERRORS: 1}


def test_half_open_lets_one_at_a_time():
    scene = Scene(ejection_s=5.0, max_ejection_s=20.0)
    state = scene.states[0]
    for _ in range(3):
        scene.decider.failed(state, "e", scene.now)
    assert scene.decider.fleet.eligible("m", 4.0) == [scene.states[1]]
    scene.now = 6.0
    assert scene.decider.fleet.eligible("m", 6.0) == scene.states
    trial = scene.send(0)
    assert scene.decider.fleet.eligible("m", 6.0) == [scene.states[1]]
    trial.release(7.0)  # its client left
    assert state.half_open(7.0)
    scene.now = 8.0
    trial = scene.send(0)
    trial.first_token(9.0)
    scene.second(2)
    assert state.health is Health.HEALTHY


def test_one_that_nobody_tries_is_back_and_one_failure_from_being_out():
    scene = Scene(ejection_s=5.0, max_ejection_s=20.0)
    state = scene.states[0]
    for _ in range(3):
        scene.decider.failed(state, "e", scene.now)
    scene.second(26)
    assert state.health is Health.HEALTHY
    assert scene.decider.failed(state, "e", scene.now)
    assert state.ejection.until_s == scene.now + 10.0


class Lives(RuleBasedStateMachine):
    """Three replicas of one model under any order of what can happen to them."""

    def __init__(self):
        super().__init__()
        self.states = replicas(3)
        self.decider = Decider(Fleet(self.states), LeastRequests(), HealthPolicy())
        self.now = 0.0
        self.charges = []
        self.tokens = 0.0

    def sample(self, state, **page):
        self.tokens += 1
        self.decider.sampled(state, sample(self.now, generation_tokens=self.tokens, **page), 0)

    @rule(seconds=st.floats(0.0, 30.0))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def send(self):
        asked = request()
        asked.stream = True
        decision = self.decider.decide(asked, frozenset(), self.now)
        self.charges.append(self.decider.dispatch(asked, decision, self.now))

    @precondition(lambda self: self.charges)
    @rule(data=st.data(), how=st.sampled_from(["answered", "failed", "refused", "dead", "left", "token"]))
    def end(self, data, how):
        charge = data.draw(st.sampled_from(self.charges))
        if how == "token":
            charge.first_token(self.now)
            return
        self.charges.remove(charge)
        if how == "answered":
            self.decider.answered(charge.replica, self.now, sent_at=charge.sent_at)
        elif how != "left":
            self.decider.failed(charge.replica, how, self.now, refused=how == "refused", dead=how == "dead")
        charge.release(self.now, Usage(1, 1) if how == "answered" else None)

    @rule(
        number=st.integers(0, 2),
        error=st.sampled_from(["", "e"]),
        refused=st.booleans(),
        generated=st.booleans(),
    )
    def probe(self, number, error, refused, generated):
        state = self.states[number]
        refused = refused and bool(error)
        self.decider.probed(state, self.now, self.now, error=error, refused=refused, generated=generated)

    @rule(number=st.integers(0, 2), running=st.sampled_from([None, 0.0, 1.0]), same=st.booleans())
    def read(self, number, running, same):
        if same:
            self.tokens -= 1
        self.sample(self.states[number], running=running)

    @rule(number=st.integers(0, 2), answered=st.booleans())
    def misread(self, number, answered):
        self.decider.unread(self.states[number], self.now, answered=answered)

    @invariant()
    def somebody_is_there(self):
        eligible = self.decider.fleet.eligible("m", self.now)
        assert eligible
        assert len({state.id for state in eligible}) == len(eligible)

    @invariant()
    def states_are_whole(self):
        for state in self.states:
            if state.health is Health.EJECTED:
                assert state.ejection is not None
                assert state.fault is state.ejection.fault
            if state.health is Health.HEALTHY:
                assert state.ejection is None
                assert state.fault is None

    def teardown(self):
        """From here on all work: within a bounded time all are back."""
        for charge in self.charges:
            charge.release(self.now)
        for _ in range(200):
            self.now += 1
            for state in self.states:
                self.decider.probed(state, self.now, self.now)
                self.sample(state, running=0.0)
            asked = request()
            decision = self.decider.decide(asked, frozenset(), self.now)
            charge = self.decider.dispatch(asked, decision, self.now)
            self.decider.answered(charge.replica, self.now, sent_at=charge.sent_at)
            charge.release(self.now, Usage(1, 1))
        assert {state.health for state in self.states} == {Health.HEALTHY}
        assert [state.in_flight for state in self.states] == [0, 0, 0]
        assert not any(state.progress.owed for state in self.states)


TestLives = Lives.TestCase


@given(st.integers(1, 40))
def test_backpressure_and_clients_errors_are_neither(count):
    """They are answers: nothing that says otherwise is ever called for them (lifecycle)."""
    state = replica()
    for _ in range(count):
        assert not health.answered(state, POLICY, 0.0, 0.0)
    assert state.health is Health.HEALTHY
