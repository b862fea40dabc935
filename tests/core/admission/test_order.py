"""In whatever order requests come and go: the queue keeps its bound, nobody is lost, and who goes is whose turn it is."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from balancer.core.admission import Limits
from balancer.core.admission.shares import MOST_TENANTS, Shares
from balancer.core.decider import Decider
from balancer.core.errors import Refused
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.core.scheduling import LeastRequests, Policy
from balancer.core.types import Decision, Health, ReplicaId
from tests.core.states import replica, request, sample

BOUND = 5
MAX_WAIT_S = 40.0
MODELS = ("m", "n")


class Weighed(LeastRequests):
    """The work of a request is what it says."""

    def choose(self, request, replicas, now):
        return super().choose(request, replicas, now)._replace(uncached_tokens=request.prompt_tokens)


def asked(model="m", priority=0, deadline=None, tenant="", tokens=1):
    view = request(model=model)
    view.priority, view.deadline, view.tenant, view.prompt_tokens = priority, deadline, tenant, tokens
    return view


def decider(*states, max_waiting=None, max_wait_s=None, policy=None):
    limits = Limits(max_waiting, max_wait_s)
    return Decider(Fleet(states), policy or Weighed(), HealthPolicy(), limits)


class Desk(RuleBasedStateMachine):
    """Two replicas with a seat each, of which one serves both models, and one that serves either has two."""

    def __init__(self):
        super().__init__()
        self.fleet = [
            replica("r0", models=("m",), max_in_flight=1),
            replica("r1", models=("n",), max_in_flight=1),
            replica("both", models=MODELS, max_in_flight=2),
        ]
        self.decider = decider(*self.fleet, max_waiting=BOUND, max_wait_s=MAX_WAIT_S)
        self.line = self.decider.line
        self.waiting = []
        self.pushed_out = []
        self.charges = []
        self.now = 0.0

    def of(self, model):
        return [each for each in self.waiting if each.request.model == model and not each.tried]

    def seats(self, model, tried=frozenset()):
        return [
            each
            for each in self.fleet
            if model in each.models
            and each.id not in tried
            and each.health is Health.HEALTHY
            and not each.at_limit
        ]

    @rule(
        model=st.sampled_from(MODELS),
        priority=st.integers(-1, 1),
        timeout_s=st.sampled_from([None, None, 5.0, 15.0, 100.0]),
        tenant=st.sampled_from("abc"),
        tokens=st.integers(1, 50),
    )
    def arrive(self, model, priority, timeout_s, tenant, tokens):
        self.now += 1
        deadline = None if timeout_s is None else self.now + timeout_s
        view = asked(model, priority, deadline, tenant, tokens)
        decision = self.decider.decide(view, frozenset(), self.now)
        there = self.of(model)
        if not decision.wait:
            assert not there
            self.charges.append(self.decider.dispatch(view, decision, self.now))
            return
        assert there or not self.seats(model)
        lowest = max((each.request.priority for each in there), default=-inf)
        try:
            joined = self.line.join(view, decision, self.now)
        except Refused as refused:
            assert len(there) == BOUND
            assert priority >= lowest
            assert refused.status == 503
            assert 1 <= refused.retry_after_s <= 60
            return
        gone = [each for each in there if each not in self.line._all()]
        assert len(gone) == (len(there) == BOUND)
        for victim in gone:
            assert victim.request.priority == lowest
            assert priority < lowest or tenant != victim.request.tenant
            self.waiting.remove(victim)
            self.pushed_out.append(victim)
        self.waiting.append(joined)

    @precondition(lambda self: self.charges)
    @rule(data=st.data())
    def break_down(self, data):
        """An attempt fails, and its request looks for another replica."""
        charge = self.charges.pop(data.draw(st.integers(0, len(self.charges) - 1)))
        charge.release(self.now)
        view, tried = charge.request, frozenset({charge.replica.id})
        decision = self.decider.decide(view, tried, self.now)
        assert decision.wait == (not self.seats(view.model, tried))
        if decision.wait:
            self.waiting.append(self.line.join(view, decision, self.now, tried))
        else:
            self.charges.append(self.decider.dispatch(view, decision, self.now))

    @precondition(lambda self: self.waiting or self.pushed_out)
    @rule(data=st.data())
    def leave(self, data):
        waiting = data.draw(st.sampled_from(self.waiting + self.pushed_out))
        for each in (self.waiting, self.pushed_out):
            if waiting in each:
                each.remove(waiting)
        self.line.leave(waiting)
        self.line.leave(waiting)

    @precondition(lambda self: self.charges)
    @rule(data=st.data())
    def answer(self, data):
        self.charges.pop(data.draw(st.integers(0, len(self.charges) - 1))).release(self.now)

    @rule(passed_s=st.sampled_from([0.0, 1.0, 20.0]))
    def release(self, passed_s):
        self.now += passed_s
        for waiting, decision in self.line.release(self.now):
            if isinstance(decision, Refused):
                late = waiting.request.deadline is not None and waiting.request.deadline <= self.now
                if waiting in self.pushed_out:
                    self.pushed_out.remove(waiting)
                    assert decision.status == 503
                else:
                    self.waiting.remove(waiting)
                    assert late or self.now - waiting.since >= MAX_WAIT_S
                    assert decision.status == (504 if late else 503)
                continue
            self.waiting.remove(waiting)
            chosen = self.fleet[[each.id for each in self.fleet].index(decision.replica)]
            assert not decision.wait
            assert chosen in self.seats(waiting.request.model, waiting.tried)
            if not waiting.tried:
                place = waiting.turn, waiting.since
                others = [
                    each for each in self.waiting if chosen in self.seats(each.request.model, each.tried)
                ]
                assert all(place < (each.turn, each.since) for each in others)
            self.charges.append(self.decider.dispatch(waiting.request, decision, self.now))
        assert not self.pushed_out
        for each in self.waiting:
            assert not self.seats(each.request.model, each.tried)
            assert each.ends_at > self.now

    @invariant()
    def nobody_is_lost_and_the_bound_is_kept(self):
        assert set(self.line._all()) == set(self.waiting)
        assert len(self.line) == len(self.waiting)
        assert all(len(self.of(model)) <= BOUND for model in MODELS)

    @invariant()
    def limits_hold(self):
        assert all(each.in_flight <= each.max_in_flight for each in self.fleet)
        assert sum(each.in_flight for each in self.fleet) == len(self.charges)

    @invariant()
    def nothing_is_remembered_of_those_who_went(self):
        assert bool(len(self.line._shares)) == bool(self.waiting)

    def teardown(self):
        self.fleet[2].max_in_flight = 99
        self.release(0.0)
        assert not [each for each in self.waiting if not each.tried]


TestDesk = Desk.TestCase


def releasing(made, count, now=1.0):
    """The next so many to go, each answered before the next is sent."""
    gone = []
    while len(gone) < count:
        for waiting, decision in made.line.release(now):
            gone.append(waiting)
            made.dispatch(waiting.request, decision, now).release(now)
            break
        else:
            break
    return gone


def full(made, *views):
    """A line behind a replica that is busy; the charge is what keeps it so."""
    first = asked()
    charge = made.dispatch(first, made.decide(first, frozenset(), 0.0), 0.0)
    for view in views:
        decision = made.decide(view, frozenset(), 0.0)
        assert decision.wait
        made.line.join(view, decision, 0.0)
    return charge


@given(st.lists(st.lists(st.integers(1, 1000), min_size=60, max_size=60), min_size=2, max_size=4))
def test_of_tenants_that_wait_all_the_while_none_gets_more_than_a_request_ahead(work):
    made = decider(replica(max_in_flight=1))
    views = [asked(tenant=str(name), tokens=tokens) for name, each in enumerate(work) for tokens in each]
    full(made, *views).release(0.5)
    got = [0] * len(work)
    left = [len(each) for each in work]
    while all(left):
        (waiting,) = releasing(made, 1)
        tenant = int(waiting.request.tenant)
        got[tenant] += waiting.request.prompt_tokens
        left[tenant] -= 1
        assert max(got) - min(got) <= max(map(max, work))


def test_who_comes_late_gets_no_credit_for_it():
    made = decider(replica(max_in_flight=1))
    full(made, *[asked(tenant="early", tokens=10) for _ in range(30)]).release(0.5)
    releasing(made, 20)
    for _ in range(10):
        made.line.join(asked(tenant="late", tokens=10), Decision(ReplicaId("a"), "", wait=True), 1.0)
    tenants = [waiting.request.tenant for waiting in releasing(made, 10)]
    assert 4 <= tenants.count("late") <= 6


def test_a_tenant_whose_requests_wait_one_by_one_gets_its_share_and_no_more():
    made = decider(replica(max_in_flight=1))
    full(made, *[asked(tenant="many", tokens=10) for _ in range(100)]).release(0.5)
    gone = []
    for _ in range(60):
        if not any(view.tenant == "one" for view in made.line.requests()):
            made.line.join(asked(tenant="one", tokens=20), Decision(ReplicaId("a"), "", wait=True), 1.0)
        gone += [waiting.request.tenant for waiting in releasing(made, 1)]
    assert gone.count("many") == pytest.approx(2 * gone.count("one"), abs=3)


def test_priority_goes_before_deadline_and_deadline_before_fairness():
    made = decider(replica(max_in_flight=1))
    late, soon = asked(deadline=90.0, tenant="a"), asked(deadline=80.0, tenant="a")
    urgent, never, other = asked(priority=-1, tenant="a"), asked(tenant="a"), asked(tenant="b")
    full(made, never, late, soon, other, urgent).release(0.5)
    order = [waiting.request for waiting in releasing(made, 5)]
    assert order[:3] == [urgent, soon, late]
    assert order[3:] == [other, never]  # a has had much by then


def test_a_full_queue_makes_room_for_a_higher_priority_and_for_a_tenant_that_has_less_there():
    made = decider(replica(max_in_flight=1), max_waiting=3)
    greedy = [asked(tenant="greedy") for _ in range(3)]
    full(made, *greedy)
    wait = Decision(ReplicaId("a"), "", wait=True)
    with pytest.raises(Refused):
        made.line.join(asked(tenant="greedy"), wait, 0.0)
    modest, urgent = asked(tenant="modest"), asked(tenant="greedy", priority=-1)
    made.line.join(modest, wait, 0.0)
    with pytest.raises(Refused):
        made.line.join(asked(tenant="modest"), wait, 0.0)  # they would have two, and greedy one
    made.line.join(urgent, wait, 0.0)
    assert {*map(id, made.line.requests())} == {*map(id, (greedy[0], modest, urgent))}
    told = [(waiting.request, refused.status) for waiting, refused in made.line.release(0.0)]
    assert told == [(greedy[2], 503), (greedy[1], 503)]
    assert made.line.refused == {("m", "queue_full"): 2, ("m", "pushed_out"): 2}


def test_where_nobody_may_wait_only_a_limit_is_a_reason_to_refuse():
    state = replica(max_in_flight=2)
    made = decider(state, max_waiting=0)
    for _ in range(2):
        decision = made.decide(asked(), frozenset(), 0.0)
        assert not decision.wait
        made.dispatch(asked(), decision, 0.0)
    decision = made.decide(asked(), frozenset(), 0.0)
    assert decision.wait
    with pytest.raises(Refused):
        made.line.join(asked(), decision, 0.0)


def test_where_nobody_may_wait_the_engines_own_queue_takes_what_it_can_not_begin():
    state = replica()
    made = decider(state, max_waiting=0)
    made.dispatch(asked(), made.decide(asked(), frozenset(), 0.0), 0.0)
    state.sampled(sample(0.0, waiting=3.0, kv_usage=0.99), 1)
    assert decider(state).decide(asked(), frozenset(), 0.0).wait
    assert not made.decide(asked(), frozenset(), 0.0).wait


def test_a_client_that_leaves_before_it_heard_that_it_was_pushed_out():
    made = decider(replica(max_in_flight=1), max_waiting=1)
    full(made, asked())
    (victim,) = made.line._all()
    made.line.join(asked(priority=-1), Decision(ReplicaId("a"), "", wait=True), 0.0)
    made.line.leave(victim)
    assert list(made.line.release(0.0)) == []


def test_time_in_which_nobody_waits_slows_no_queue_down():
    made = decider(replica(max_in_flight=1))
    full(made, asked(), asked()).release(0.5)
    releasing(made, 2)
    ((_, rate),) = made.line.rates()
    assert rate.per_s(1000.0) == pytest.approx(2.0, rel=0.1)


class Unbound(Policy):
    name = "unbound"

    def choose(self, request, replicas, now):
        return Decision(replicas[-1].id, "last")


def test_a_request_that_waits_goes_where_there_is_room_then():
    states = [replica(f"r{number}", max_in_flight=1) for number in range(2)]
    made = decider(*states, policy=Unbound())
    charges = [made.dispatch(asked(), made.decide(asked(), frozenset(), 0.0), 0.0) for _ in range(2)]
    decision = made.decide(asked(), frozenset(), 0.0)
    assert decision.wait
    made.line.join(asked(), decision, 0.0)
    charges[1].release(1.0)
    ((_, placed),) = made.line.release(1.0)
    assert (placed.replica, placed.wait) == (charges[1].replica.id, False)


def test_models_nobody_serves_are_not_counted_one_by_one():
    state = replica(models=None, max_in_flight=1)
    made = decider(state, max_waiting=0)
    made.dispatch(asked(), made.decide(asked(), frozenset(), 0.0), 0.0)
    for number in range(300):
        with pytest.raises(Refused):
            made.line.join(asked(f"x{number}"), Decision(state.id, "", wait=True), 0.0)
    assert made.line.refused == {("other", "queue_full"): 300}
    assert len(list(made.line.rates())) <= 256


def test_more_tenants_than_are_remembered():
    shares = Shares()
    waits = shares.joins("waits")
    for number in range(2 * MOST_TENANTS):
        shares.got(f"t{number}", 5.0)
    assert len(shares) <= MOST_TENANTS
    assert shares.joins("waits") is waits
