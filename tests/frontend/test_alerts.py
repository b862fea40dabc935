"""Alerts: what is told of each trouble, and that nothing is told of none."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from balancer.core.admission import Limits, Line
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.gpu import Condition, GpuState
from balancer.core.fleet.replica import ReplicaState, Terms
from balancer.core.scheduling import RoundRobin
from balancer.core.types import Decision, EngineSample, Fault, Health, ReplicaId, RequestView, RouteKind
from balancer.frontend import alerts
from balancer.frontend.alerts import Hits

NOW = 1000.0


def replica(name="r", health=Health.HEALTHY, **more):
    return ReplicaState(ReplicaId(name), f"http://{name}:1", models=frozenset({"m"}), health=health, **more)


def told(*replicas):
    return list(alerts.of_fleet(Fleet(replicas), NOW))


def test_of_what_is_well_nothing_is_told():
    assert told(replica(sample=EngineSample(NOW)), replica("s")) == []
    assert list(alerts.of_hits({ReplicaId("r"): Hits(0.8, 0.8, 1e6)})) == []
    assert list(alerts.of_loops([SimpleNamespace(last_success_s=NOW - 1)], NOW)) == []
    assert list(alerts.of_configuration((), ())) == []


@pytest.mark.parametrize("fault", Fault)
def test_each_fault_has_an_action(fault):
    broken = replica("b", Health.EJECTED, fault=fault, last_error="oh", turned_s=NOW - 7)
    (alert,) = told(replica(), replica("s"), broken)
    assert (alert.severity, alert.subject, alert.since_s) == ("ticket", "b", 7)
    assert alert.what == f"It is ejected ({fault}): oh."
    assert len(alert.action) > 20
    assert "{" not in alert.action


def test_who_drains_is_not_told_of_and_who_sleeps_is():
    draining = replica("d", Health.UNHEALTHY, draining=True)
    (alert,) = told(replica(), draining, replica("z", Health.ASLEEP))
    assert (alert.subject, alert.what) == ("z", "Its engine sleeps.")


def test_a_model_without_a_healthy_replica_is_worse_than_one_with_few():
    few = told(replica(), *(replica(f"b{number}", Health.EJECTED) for number in range(3)))
    assert few[0].runbook == "BalancerPanic"
    none = told(replica(health=Health.EJECTED), replica("d", draining=True))
    assert (none[0].severity, none[0].runbook) == ("page", "BalancerNoHealthyReplica")
    # nobody probes a provider
    assert told(replica(health=Health.UNKNOWN, terms=Terms())) == []


@pytest.mark.parametrize(
    ("condition", "severity", "runbook"),
    [
        (Condition.LOST, "page", "BalancerGpuSick"),
        (Condition.SICK, "page", "BalancerGpuSick"),
        (Condition.THROTTLED, "ticket", "BalancerGpuThrottled"),
    ],
)
def test_gpus(condition, severity, runbook):
    (alert,) = told(replica(gpu=GpuState(condition, "GPU 0: hot")))
    assert (alert.severity, alert.what, alert.runbook) == (severity, "GPU 0: hot.", runbook)


def test_old_metrics_are_told_of_who_is_healthy():
    old = EngineSample(NOW - 11)
    (alert,) = told(replica(sample=old))
    assert (alert.runbook, alert.since_s) == ("BalancerMetricsStale", 11)
    assert all(
        each.runbook != "BalancerMetricsStale" for each in told(replica(health=Health.EJECTED, sample=old))
    )


def test_a_queue_is_told_of_before_it_is_full():
    fleet = Fleet([replica()])
    line = Line(fleet, RoundRobin(), Limits(max_waiting=10))
    for _ in range(7):
        line.join(RequestView(RouteKind.CHAT, "m"), Decision(ReplicaId("r"), "x"), NOW)
    assert list(alerts.of_queue(line, 0)) == []
    line.join(RequestView(RouteKind.CHAT, "m"), Decision(ReplicaId("r"), "x"), NOW)
    (alert,) = alerts.of_queue(line, 0)
    assert (alert.subject, alert.what) == ("m", "8 of at most 10 requests wait: soon they are refused.")
    assert [each.severity for each in alerts.of_queue(line, 3)] == ["ticket", "page"]


@pytest.mark.parametrize(
    ("hits", "count"),
    [
        (Hits(0.3, 0.8, 30_000), 1),
        (Hits(0.3, 0.8, 10_000), 0),  # too few to say
        (Hits(0.0, 0.1, 1e6), 0),  # there never were many
        (Hits(0.5, 0.8, 1e6), 0),
    ],
)
def test_a_hit_rate_collapses(hits, count):
    assert len(list(alerts.of_hits({ReplicaId("r"): hits}))) == count


def test_a_loop_that_is_stuck_is_named():
    loop = SimpleNamespace(kind="health", subject="r", last_success_s=NOW - 301, restarts=2)
    (alert,) = alerts.of_loops([loop], NOW)
    assert alert.what == "The side loop health of r has not ended well (2 restarts)."


def test_every_runbook_entry_is_there():

    book = (Path(__file__).parents[2] / "deploy/prometheus/RUNBOOK.md").read_text("utf-8")
    source = Path(alerts.__file__).read_text("utf-8")

    named = set(re.findall(r'"(Balancer[A-Za-z]+)"', source))
    assert len(named) >= 8
    assert [name for name in sorted(named) if f"\n## {name}\n" not in book] == []
