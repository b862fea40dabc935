"""The health of a replica: what takes it out, what brings it back, and after how long.

    from                 by                                                      to
    any                  its port is closed                                      unhealthy: its process is gone
    unknown, healthy,    `failure_threshold` probes in a row failed, and no      unhealthy
      ejected              answer came meanwhile
    unhealthy            `success_threshold` good probes in a row                healthy, or ejected, if it was
    unknown              the same, or an answer                                  healthy
    unhealthy            an answer                                               healthy
    unknown, healthy     `failure_threshold` requests in a row failed            ejected: errors
    any but unhealthy,   its engine said that it is dead                         ejected: dead
      asleep
    unknown, healthy     owes a first token for long, while siblings gave        ejected: no_first_token
                           theirs to requests sent later
    unknown, healthy     work, and neither token nor movement for `stall_s`      ejected: stalled
    ejected (any)        an answer to what was sent since, or on trial           healthy
    ejected (any)        a failure on trial                                      ejected, for twice as long
    ejected (stalled,    any answer; if stalled, its engine moves                healthy
      no_first_token)
    ejected (any)        it restarted                                            healthy
    ejected (any)        nobody tried it, long after its term                    healthy, one failure from the next term
    any                  its engine says that it sleeps                          asleep
    asleep               its engine says that it is awake                        healthy
    asleep               nothing is heard of that any more                       unknown

Ejection is passive outlier detection (as Envoy and Pingora call it): it lasts `ejection_s`, doubled each time up to
`max_ejection_s`; then the replica is half open, and gets one request at a time until one is answered. A green probe does not
end it: a frozen, paused or broken engine answers 200 on /health. A failed probe outranks it, a closed port ends it.

A failure is the replica's own fault only: refused or broken connections, a dead engine. Backpressure (429, 503) and
the client's errors (4xx) are none. A probe that fails while answers arrive says "busy", not "dead" (rllm-org/rllm#926), so
traffic outvotes it. An answer to what was sent before the failures began says nothing of now: an engine that shuts down
finishes what it has and refuses all else with 500.

No state here takes the last replica of a model away: who is tried when few or none are healthy is the fleet's matter.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from balancer.core.fleet.progress import Attempt
from balancer.core.fleet.replica import Ejection, ReplicaState
from balancer.core.types import Fault, Health

PATIENCE = 3.0
"""An engine may stand still for so many times the predicted TTFT of what it owes, or the slowest step it came out of,"""
FIRST_TOKEN_PATIENCE = 5.0
"""a first token may take so many times that TTFT, or the slowest lately of its siblings,"""
FIRST_TOKEN_STALLS = 3.0
"""and so many times `stall_s`."""
OVERTAKEN = 3
"""So many requests that were sent later must have had theirs elsewhere."""
SLEEP_MAX_AGE_S = 60.0
"""A reading that said that the engine sleeps is believed so long."""

_OVERRULED = frozenset({Health.UNHEALTHY, Health.ASLEEP})
_ANSWERING = frozenset({Fault.ERRORS, Fault.DEAD})
"""Faults beside which answers still come, to what was sent before."""


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    failure_threshold: int = 3
    success_threshold: int = 1
    ejection_s: float = 5.0
    max_ejection_s: float = 60.0
    stall_s: float = 10.0


def answered(replica: ReplicaState, policy: HealthPolicy, now: float, sent_at: float) -> bool:
    """A request was answered, or a probe that generates, which was sent then. True if the state changed."""
    since, ejection = replica.failing_since_s, replica.ejection
    if since is not None and sent_at < since:
        return False
    if ejection is not None and ejection.fault in _ANSWERING and sent_at < ejection.at_s:
        return False
    replica.probe_failures = replica.request_failures = 0
    replica.failing_since_s = replica.ejection = None
    if replica.health is Health.EJECTED:
        return _turn(replica, Health.HEALTHY, now)
    return _succeeded(replica, policy, now)


def probe_passed(replica: ReplicaState, policy: HealthPolicy, now: float) -> bool:
    """True if the state changed."""
    replica.probe_failures = 0
    return _succeeded(replica, policy, now)


def request_failed(
    replica: ReplicaState, policy: HealthPolicy, error: str, now: float, *, dead: bool = False
) -> bool:
    """An attempt failed by the replica's fault; `dead` if its engine said that it is. True if the state changed."""
    _note(replica, error, now)
    replica.request_failures += 1
    if replica.request_failures == 1:
        replica.failing_since_s = now
    ejection = replica.ejection
    if dead and not (ejection is not None and ejection.fault is Fault.DEAD and now < ejection.until_s):
        return replica.health not in _OVERRULED and _eject(replica, policy, Fault.DEAD, now)
    if ejection is None:
        if replica.request_failures < policy.failure_threshold or replica.health in _OVERRULED:
            return False
    elif now < ejection.until_s:
        return False  # it was sent before, or because nobody else is left
    return _eject(replica, policy, Fault.ERRORS, now)


def probe_failed(
    replica: ReplicaState, policy: HealthPolicy, error: str, now: float, asked_at: float
) -> bool:
    """The probe that was sent then failed. True if the state changed."""
    if replica.progress.heard_s >= asked_at:
        return False
    _note(replica, error, now)
    replica.probe_failures += 1
    if replica.probe_failures < policy.failure_threshold or replica.health in _OVERRULED:
        return False
    return _turn(replica, Health.UNHEALTHY, now, Fault.PROBE)


def refused(replica: ReplicaState, error: str, now: float) -> bool:
    """Its port is closed. True if the state changed."""
    _note(replica, error, now)
    replica.request_failures, replica.failing_since_s = 0, now
    replica.ejection = None
    return _turn(replica, Health.UNHEALTHY, now, Fault.REFUSED)


def restarted(replica: ReplicaState, now: float) -> bool:
    """It is another process now: what the last one did says nothing of it. True if the state changed."""
    replica.request_failures = 0
    replica.failing_since_s = replica.ejection = None
    return replica.health is Health.EJECTED and _turn(replica, Health.HEALTHY, now)


def slept(replica: ReplicaState, now: float, *, asleep: bool | None) -> bool:
    """What a reading says of the engine's sleep. True if the state changed."""
    if asleep:
        replica.request_failures = 0
        replica.failing_since_s = replica.ejection = None
        return _turn(replica, Health.ASLEEP, now)
    return asleep is False and replica.health is Health.ASLEEP and _turn(replica, Health.HEALTHY, now)


def judged(replica: ReplicaState, siblings: Iterable[ReplicaState], policy: HealthPolicy, now: float) -> bool:
    """What the passing of time tells: looked at after each reading of its metrics, or try of one. True if the state changed."""
    progress, sample = replica.progress, replica.sample
    if replica.health is Health.ASLEEP:
        old = sample is None or now - sample.taken_at > SLEEP_MAX_AGE_S
        return old and _turn(replica, Health.UNKNOWN, now)
    ejection = replica.ejection
    if ejection is not None:
        return replica.health is Health.EJECTED and _back(replica, ejection, policy, now)
    if replica.health in _OVERRULED:
        return False
    if _stalled(replica, policy, now):
        _note(replica, "its engine stands still while it has work", now)
        return _eject(replica, policy, Fault.STALLED, now)
    if progress.owed and _overtaken(replica, siblings, policy, now):
        _note(replica, "it owes a first token, while others gave theirs to later requests", now)
        return _eject(replica, policy, Fault.NO_FIRST_TOKEN, now)
    return False


def _back(replica: ReplicaState, ejection: Ejection, policy: HealthPolicy, now: float) -> bool:
    """Whether an ejected replica is back by itself."""
    progress = replica.progress
    heard_s = progress.heard_of_s if ejection.fault in _ANSWERING else progress.heard_s
    moved = ejection.fault is Fault.STALLED and progress.moved_s > ejection.at_s
    if heard_s > ejection.at_s or moved:
        replica.request_failures = 0
        replica.failing_since_s = None
    elif ejection.trial is not None or now < ejection.until_s + policy.max_ejection_s:
        return False
    replica.ejection = None
    return _turn(replica, Health.HEALTHY, now)


def _stalled(replica: ReplicaState, policy: HealthPolicy, now: float) -> bool:
    progress = replica.progress
    oldest = next(iter(progress.owed), None)
    since_s = [progress.heard_s]
    working = False
    if progress.unanswered_s is not None:
        since_s.append(progress.unanswered_s)
    elif progress.counted_s is not None:
        since_s += (progress.counted_s, progress.moved_s)
        working = progress.working
    else:
        return False
    if not working:
        if oldest is None:
            return False
        since_s.append(oldest.sent_at)
    allowed_s = max(policy.stall_s, PATIENCE * _predicted_s(oldest), PATIENCE * progress.slowest_step_s)
    return now - max(since_s) >= allowed_s


def _overtaken(
    replica: ReplicaState, siblings: Iterable[ReplicaState], policy: HealthPolicy, now: float
) -> bool:
    """Whether a stream that was sent there has waited out of all proportion, without a sign of life from there since."""
    oldest = next((attempt for attempt in replica.progress.owed if attempt.request.stream), None)
    if oldest is None or replica.progress.heard_s >= oldest.sent_at:
        return False
    recent = [first for sibling in siblings for first in sibling.progress.recent]
    later = (first for first in recent if first.sent_at > oldest.sent_at)
    if len(list(islice(later, OVERTAKEN))) < OVERTAKEN:
        return False
    usual_s = max(_predicted_s(oldest), *(first.took_s for first in recent))
    allowed_s = max(FIRST_TOKEN_STALLS * policy.stall_s, FIRST_TOKEN_PATIENCE * usual_s)
    return now - oldest.sent_at >= allowed_s


def _predicted_s(attempt: Attempt | None) -> float:
    return 0.0 if attempt is None else attempt.predicted_s or 0.0


def _succeeded(replica: ReplicaState, policy: HealthPolicy, now: float) -> bool:
    if replica.health not in {Health.UNKNOWN, Health.UNHEALTHY}:
        return False
    replica.successes += 1
    if replica.successes < policy.success_threshold:
        return False
    ejection = replica.ejection
    if ejection is not None:
        return _turn(replica, Health.EJECTED, now, ejection.fault)
    return _turn(replica, Health.HEALTHY, now)


def _eject(replica: ReplicaState, policy: HealthPolicy, fault: Fault, now: float) -> bool:
    since = replica.turned_s
    if replica.health is Health.HEALTHY and (since is None or now - since > policy.max_ejection_s):
        replica.ejections = 0  # it was well for long
    term_s = min(policy.max_ejection_s, policy.ejection_s * 2.0 ** min(replica.ejections, 32))
    replica.ejections += 1
    replica.ejection = Ejection(fault, now, now + term_s, policy.max_ejection_s)
    return _turn(replica, Health.EJECTED, now, fault)


def _note(replica: ReplicaState, error: str, now: float) -> None:
    replica.successes = 0
    replica.last_error, replica.last_error_at_s = error, now


def _turn(replica: ReplicaState, health: Health, now: float, fault: Fault | None = None) -> bool:
    before, replica.fault = replica.fault, fault
    if fault is not None and fault is not before:
        replica.faults[fault] += 1
    if replica.health is health:
        return False
    replica.health, replica.turned_s, replica.successes = health, now, 0
    if health is Health.HEALTHY:
        replica.probe_failures = 0
    return True
