"""Providers beside the fleet's own replicas: who is sent there, and what becomes of their health."""

import pytest

from balancer.core.decider import Decider
from balancer.core.errors import Refused
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.core.fleet.patience import HEADLESS_S, patience_s
from balancer.core.fleet.quota import Quota
from balancer.core.fleet.replica import Terms
from balancer.core.scheduling import LeastRequests
from balancer.core.types import Health, Usage
from tests.core.states import replica, request

NOW = 1000.0


def provider(name="p", *, models=("m",), quota=None, **more):
    state = replica(name, models=models, **more)
    state.terms = Terms(quota or Quota())
    state.declared = True
    return state


def names(found):
    return [state.id for state in found]


def test_nobody_is_sent_to_a_provider_for_a_model_that_is_served_here():
    own, other = replica("a"), provider()
    fleet = Fleet([own, other])
    assert names(fleet.eligible("m", NOW)) == ["a"]
    for health in (Health.UNHEALTHY, Health.EJECTED, Health.UNKNOWN):
        own.health = health
        assert names(fleet.eligible("m", NOW)) == ["a"]
    with pytest.raises(Refused) as refused:
        fleet.eligible("m", NOW, frozenset({"a"}))
    assert refused.value.status == 503


def test_a_request_that_names_no_model_stays_here():
    fleet = Fleet([replica("a", health=Health.UNHEALTHY), provider()])
    assert names(fleet.eligible(None, NOW)) == ["a"]


def test_a_model_that_only_a_provider_serves_goes_there():
    fleet = Fleet([replica("a"), provider(models=("x",))])
    assert names(fleet.eligible("x", NOW)) == ["p"]
    assert fleet.is_provided(request(model="x"))
    assert not fleet.is_provided(request(model="m"))
    assert names(fleet.eligible("x", NOW, among=frozenset({"p"}))) == ["p"]
    assert fleet.models() == ["m", "x"]


def test_who_is_chosen_by_its_tier_is_asked_though_the_model_is_served_here():
    fleet = Fleet([replica("a"), provider()])
    asked = request()
    asked.among = frozenset({"p"})
    assert names(fleet.eligible("m", NOW, among=asked.among)) == ["p"]
    assert fleet.is_provided(asked)


def test_a_provider_is_no_measure_for_the_others():
    own, other = replica("a", health=Health.UNHEALTHY), provider()
    fleet = Fleet([own, other])
    assert list(fleet.siblings(own)) == []
    fleet.leave(other)
    assert not fleet.has_providers


def deciding(*states):
    return Decider(Fleet(states), LeastRequests(), HealthPolicy(failure_threshold=2, ejection_s=5))


def test_a_closed_port_of_a_provider_is_a_failure_like_others_and_ends_by_a_trial():
    other = provider()
    decider = deciding(replica("a"), other)
    for _ in range(2):
        decider.failed(other, "refused", NOW, refused=True)
    assert other.health is Health.EJECTED
    assert other.is_out(NOW + 4.9)
    assert not other.is_out(NOW + 5)
    asked = request()
    asked.among = frozenset({"p"})
    charge = decider.dispatch(asked, decider.decide(asked, frozenset(), NOW + 5), NOW + 5)
    assert other.is_out(NOW + 5)  # one at a time
    decider.ended(charge, NOW + 6, Usage(1, 1))
    decider.answered(other, NOW + 6, sent_at=NOW + 5)
    assert other.health is Health.HEALTHY


def test_what_its_limits_forbid_is_refused_with_the_time_to_wait():
    other = provider(models=("x",), quota=Quota(tokens_per_minute=60))
    decider = deciding(replica("a"), other)
    asked = request(1, 2, model="x")  # 128 tokens
    decision = decider.admit(decider.decide(asked, frozenset(), NOW), NOW)
    charge = decider.dispatch(asked, decision, NOW)
    with pytest.raises(Refused) as refused:
        decider.admit(decision, NOW)
    assert (refused.value.status, refused.value.retry_after_s) == (429, 69)
    decider.ended(charge, NOW, Usage(20, 0))  # the estimate was too high
    assert decider.admit(decision, NOW) == decision


def test_nobody_waits_for_a_provider():
    other = provider(models=("x",), max_in_flight=1)
    decider = deciding(other)
    asked = request(model="x")
    assert not decider.admit(decider.decide(asked, frozenset(), NOW)._replace(wait=True), NOW).wait
    decider.dispatch(asked, decider.decide(asked, frozenset(), NOW), NOW)
    with pytest.raises(Refused, match="no more requests"):
        decider.admit(decider.decide(asked, frozenset(), NOW), NOW)


def test_a_pause_that_a_provider_asks_for_is_kept():
    other = provider()
    decider = deciding(other)
    decider.declined(other, NOW, 30)
    assert other.terms.quota.wait_s(NOW + 10) == pytest.approx(20)
    decider.answered(other, NOW + 1, sent_at=NOW)
    decider.declined(other, NOW + 40, None)
    assert other.terms.quota.wait_s(NOW + 40) == pytest.approx(0.5)


def test_a_provider_need_not_send_the_head_before_it_computes():
    assert patience_s(replica(), None, streams=True, begun=False) == HEADLESS_S
    assert patience_s(provider(), None, streams=True, begun=False) > HEADLESS_S
