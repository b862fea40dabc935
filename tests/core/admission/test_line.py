"""Whoever waits goes once, or leaves, or is refused: nobody is lost, nobody goes twice, and the policy hears of each."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from balancer.core.admission import Line
from balancer.core.decider import Decider
from balancer.core.errors import Refused
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.core.scheduling import Charge
from balancer.core.types import Health, ReplicaId
from tests.core.states import replica, replicas, request
from tests.fakes.policies import OneAtATime

MODELS = ("m", "n")


class Waiters(RuleBasedStateMachine):
    """Two replicas for each of two models."""

    def __init__(self):
        super().__init__()
        self.fleet = Fleet(
            replica(f"{model}{number}", models=(model,)) for model in MODELS for number in (0, 1)
        )
        self.policy = OneAtATime()
        self.line = Line(self.fleet, self.policy)
        self.waiting = []
        self.left = []
        self.charges = []
        self.now = 0.0

    @rule(model=st.sampled_from(MODELS))
    def join(self, model):
        self.now += 1
        asked = request(model=model)
        try:
            decision = self.policy.choose(asked, self.fleet.eligible(model, self.now), self.now)
        except Refused:
            return
        self.waiting.append(self.line.join(asked, decision, self.now))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data):
        waiting = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        self.line.leave(waiting)
        self.left.append(waiting)

    @precondition(lambda self: self.left)
    @rule(data=st.data())
    def leave_again(self, data):
        self.line.leave(data.draw(st.sampled_from(self.left)))

    @rule(most=st.integers(1, 5))
    def release(self, most):
        """Perhaps not of all who could go: the rest goes another time."""
        self.now += 1
        for _, (waiting, decision) in zip(range(most), self.line.release(self.now), strict=False):
            model = waiting.request.model
            self.waiting.remove(waiting)
            if isinstance(decision, Refused):
                assert all(each.draining for each in self.fleet if model in each.models)
                continue
            chosen = self.fleet[decision.replica]
            assert model in chosen.models
            assert chosen.health is Health.HEALTHY
            older = [
                each for each in self.waiting if each.request.model == model and each.since < waiting.since
            ]
            assert chosen.id not in {each.decision.replica for each in older}
            self.charges.append(Charge(waiting.request, chosen, decision, self.policy, self.now))
            self.left.append(waiting)

    @precondition(lambda self: self.charges)
    @rule(data=st.data())
    def answer(self, data):
        self.charges.pop(data.draw(st.integers(0, len(self.charges) - 1))).release(self.now)

    @rule(model=st.sampled_from(MODELS), serving=st.sampled_from([(), (0,), (1,), (0, 1)]))
    def turn(self, model, serving):
        for number in (0, 1):
            self.fleet[ReplicaId(f"{model}{number}")].draining = number not in serving

    @invariant()
    def nobody_is_lost(self):
        assert len(self.line) == len(self.waiting)
        assert self.policy.waiting == set(self.waiting)

    @invariant()
    def one_at_a_time(self):
        assert sum(each.in_flight for each in self.fleet) == len(self.charges)

    def teardown(self):
        for each in self.fleet:
            each.draining = False
        while self.waiting:
            for charge in self.charges:
                charge.release(self.now)
            self.charges.clear()
            before = len(self.waiting)
            self.release(99)
            assert len(self.waiting) < before
        assert self.policy.told["waits"] == self.policy.told["waits_no_more"]


TestWaiters = Waiters.TestCase


def test_one_model_waits_and_another_does_not():
    fleet = Fleet([replica("m0", models=("m",)), replica("n0", models=("n",))])
    policy = OneAtATime()
    line = Line(fleet, policy)
    fleet[ReplicaId("m0")].in_flight = 1
    held = [
        line.join(request(model=model), policy.choose(request(), [fleet[to]], 0.0), 0.0)
        for model, to in (("m", "m0"), ("n", "n0"))
    ]
    assert [(waiting, decision.replica) for waiting, decision in line.release(1.0)] == [(held[1], "n0")]
    assert len(line) == 1


def test_those_who_wait_are_sent_by_what_the_one_before_has_changed():
    """One on trial gets one of them."""
    fleet = Fleet(replicas(2))
    policy = OneAtATime()
    decider = Decider(fleet, policy, HealthPolicy(ejection_s=5.0))
    fleet["r0"].in_flight = fleet["r1"].in_flight = 1
    for now in (1.0, 2.0, 3.0):
        decider.line.join(request(), decider.decide(request(), frozenset(), now), now)
        decider.failed(fleet["r0"], "e", now)
    fleet["r0"].in_flight = fleet["r1"].in_flight = 0
    sent = []
    for waiting, decision in decider.line.release(9.0):
        charge = decider.dispatch(waiting.request, decision, 9.0)
        charge.replica.in_flight = 0
        sent.append(decision.replica)
    assert sorted(sent) == ["r0", "r1", "r1"]
