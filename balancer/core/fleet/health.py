"""The health of a replica from probes and from traffic.

    unknown, unhealthy --successes--> healthy;  any --consecutive failures--> unhealthy

A failure is the replica's own fault only: refused or broken connections, a dead engine. Backpressure (429, 503) and
the client's errors (4xx) are neither failure nor success. A probe that fails while answers still arrive
says "busy", not "dead" (rllm-org/rllm#926), so traffic outvotes it. No state here takes the last replica of a
model away: who is tried when nobody is healthy is the decider's matter.
"""

from dataclasses import dataclass

from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import Health


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    failure_threshold: int = 3
    success_threshold: int = 1


def succeeded(replica: ReplicaState, policy: HealthPolicy) -> bool:
    """An answer came (from a probe, or to a request). True if the state changed."""
    replica.consecutive_failures = 0
    replica.gone = False
    if replica.health is Health.HEALTHY or replica.health is Health.DRAINING:
        return False
    replica.consecutive_successes += 1
    if replica.consecutive_successes < policy.success_threshold:
        return False
    replica.health = Health.HEALTHY
    replica.last_error = ""
    return True


def failed(replica: ReplicaState, policy: HealthPolicy, error: str, *, certain: bool = False) -> bool:
    """The replica failed; `certain` when no doubt is left (its port is closed). True if the state changed."""
    replica.consecutive_successes = 0
    replica.consecutive_failures += 1
    replica.last_error = error
    replica.gone = replica.gone or certain
    if replica.health in {Health.UNHEALTHY, Health.DRAINING}:
        return False
    if not certain and replica.consecutive_failures < policy.failure_threshold:
        return False
    replica.health = Health.UNHEALTHY
    return True
