"""What is wrong now, and what to do about it. For nights there is deploy/prometheus/alerts.yml, whose runbook is named here.

Here it counts what is so at this moment: no waiting until it has lasted, since somebody is looking.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from balancer.accounting.fleet_metrics import Loop
from balancer.core.admission import Line
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.gpu import Condition
from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import Fault, Health, ReplicaId

LOOP_STUCK_S = 300.0
"""As BalancerLoopStuck has it."""
CROWDED_QUEUE = 0.8
"""Of `max_waiting`."""
COLLAPSED = 0.5
"""A hit rate of the last minute below so much of the one before is told of,"""
LEAST_HITS = 0.2
"""if that was at least this,"""
LEAST_TOKENS = 20_000
"""and so many prompt tokens came in that minute."""


class Alert(NamedTuple):
    """`page`: clients are hit now; `ticket`: they will be, or something is not as it should be. `runbook`: its entry."""

    severity: str
    subject: str
    what: str
    action: str
    runbook: str
    since_s: float | None = None


class Hits(NamedTuple):
    """Shares of a replica's prompt tokens that were cached, by its own counters: of the last minute, and of all before it."""

    lately: float
    before: float
    tokens: float


_DRAIN = "Drain it until that is known."
_OUT = {
    Fault.PROBE: "See whether its /health answers, and how fast: curl {url}/health from this host.",
    Fault.REFUSED: "Nothing listens there: start its process, or take it out of the configuration.",
    Fault.DEAD: "Its engine died: its log says why (most often CUDA errors or memory). Restart it.",
    Fault.ERRORS: f"Its answers fail: read its log at this time. {_DRAIN}",
    Fault.NO_FIRST_TOKEN: f"Its engine hangs behind a good /health: look at its GPUs (dmesg | grep -i xid). {_DRAIN}",
    Fault.STALLED: f"Its engine stands still: look at its GPUs, or raise --stall-s if such long steps are usual. {_DRAIN}",
}


def of_fleet(fleet: Fleet, now: float) -> Iterator[Alert]:
    """Models without a healthy replica, replicas that are out, and what their GPUs and their metrics say."""
    for model in fleet.models():
        serving = [replica for replica in fleet if replica.serves(model) and not replica.external]
        if serving and not any(each.health is Health.HEALTHY and not each.draining for each in serving):
            yield Alert(
                "page",
                model,
                "No replica that serves it is healthy and takes requests.",
                "Bring one back: below is what each lacks. If all went at once, take the last change back.",
                "BalancerNoHealthyReplica",
            )
        elif fleet.panics(model):
            yield Alert(
                "page",
                model,
                "Too few of its replicas are healthy, so suspected ones get requests too.",
                "Bring back those that are out. If they answer well, the balancer was wrong: see its network and host.",
                "BalancerPanic",
            )
    for replica in fleet:
        yield from _of_replica(replica, now)


def _of_replica(replica: ReplicaState, now: float) -> Iterator[Alert]:
    since_s = None if replica.turned_s is None else now - replica.turned_s
    why = f": {replica.last_error}" if replica.last_error else ""
    if replica.health in {Health.EJECTED, Health.UNHEALTHY} and not replica.draining:
        fault = replica.fault
        action = _OUT.get(fault or Fault.PROBE, "").format(url=replica.url)
        what = f"It is {replica.health}{f' ({fault})' if fault else ''}{why}."
        yield Alert("ticket", replica.id, what, action, "BalancerReplicaOut", since_s)
    elif replica.health is Health.ASLEEP:
        action = "Wake it (POST /wake_up of vLLM), or take it out of the configuration."
        yield Alert("ticket", replica.id, "Its engine sleeps.", action, "BalancerReplicaOut", since_s)
    gpu = replica.gpu
    if gpu.ailing:
        action = "Look at nvidia-smi -q and dmesg | grep -i xid; reset the GPU or reboot, and replace it if that comes back."
        yield Alert("page", replica.id, f"{gpu.why}.", action, "BalancerGpuSick")
    elif gpu.condition is Condition.THROTTLED:
        action = "Look at its temperature, its fans and its power limit; it is sent less meanwhile."
        yield Alert("ticket", replica.id, f"{gpu.why}.", action, "BalancerGpuThrottled")
    sample = replica.sample
    if replica.health is Health.HEALTHY and not replica.external and sample and not replica.fresh(now):
        action = f"See whether its metrics can be read: curl {replica.url}/metrics from this host."
        old_s = now - sample.taken_at
        yield Alert(
            "ticket",
            replica.id,
            "Its metrics are too old to judge it by.",
            action,
            "BalancerMetricsStale",
            old_s,
        )


def of_queue(line: Line, refused: int) -> Iterator[Alert]:
    """`refused`: how many requests were refused in the last minute since they would have waited too long."""
    action = "Add replicas, bring back those that are out, or see which tenant floods."
    most = line.limits.max_waiting
    if most:
        for model, count in Counter(each.model or "" for each in line.requests()).items():
            if count >= CROWDED_QUEUE * most:
                what = f"{count} of at most {most} requests wait: soon they are refused."
                yield Alert("ticket", model, what, action, "BalancerRefuses")
    if refused:
        what = f"{refused} requests were refused for overload in the last minute."
        yield Alert("page", "queue", what, action, "BalancerRefuses")


def of_hits(hits: Mapping[ReplicaId, Hits]) -> Iterator[Alert]:
    for name, (lately, before, tokens) in hits.items():
        if tokens >= LEAST_TOKENS and before >= LEAST_HITS and lately < COLLAPSED * before:
            what = f"{lately:.0%} of its prompt tokens were cached in the last minute, {before:.0%} before."
            action = "Did prompts change (a time or an id at their beginning), was its cache cleared, or do others use it, too?"
            yield Alert("ticket", name, what, action, "BalancerHitsOverpromised")


def of_loops(loops: Iterable[Loop], now: float) -> Iterator[Alert]:
    for loop in loops:
        age_s = now - loop.last_success_s
        if age_s > LOOP_STUCK_S:
            of = f" of {loop.subject}" if loop.subject else ""
            what = f"The side loop {loop.kind}{of} has not ended well ({loop.restarts} restarts)."
            action = "The balancer's log has its traceback. It is a defect of the balancer: please report it."
            yield Alert("ticket", loop.subject or "balancer", what, action, "BalancerLoopStuck", age_s)


def of_configuration(mistakes: Sequence[str], waiting: Sequence[str]) -> Iterator[Alert]:
    """`mistakes` of the last attempt to reload it; `waiting`: settings that only a restart changes."""
    if mistakes:
        more = f", and {len(mistakes) - 1} more" if len(mistakes) > 1 else ""
        what = f"The new configuration was refused, the old one holds: {mistakes[0]}{more}."
        action = "Mend the file (balancer check-config --config FILE shows all): it is read when it changes."
        yield Alert("ticket", "configuration", what, action, "BalancerConfigRefused")
    if waiting:
        what = f"Only a restart changes {', '.join(waiting)}."
        action = "Restart at leisure: a second process with --reuse-port loses nothing."
        yield Alert("ticket", "configuration", what, action, "BalancerConfigWaitsForRestart")
