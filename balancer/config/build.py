"""Settings to core objects."""

from balancer.config.schema import Settings
from balancer.core.decider import Decider
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.core.fleet.replica import ReplicaState
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling import (
    CacheAware,
    LeastRequests,
    Policy,
    PowerOfTwo,
    Random,
    Rng,
    RoundRobin,
    Session,
)
from balancer.core.types import ReplicaId


def make_decider(settings: Settings, rng: Rng) -> Decider:
    fleet = Fleet(
        ReplicaState(
            id=ReplicaId(replica.name),
            url=replica.url,
            models=None if replica.models is None else frozenset(replica.models),
            declared=replica.models is not None,
        )
        for replica in settings.replicas
    )
    health = HealthPolicy(settings.health_failure_threshold, settings.health_success_threshold)
    return Decider(fleet, make_policy(settings, rng), health)


def make_policy(settings: Settings, rng: Rng) -> Policy:
    match settings.policy:
        case "cache_aware":
            return CacheAware(PrefixIndex(settings.index_max_blocks))
        case "round_robin":
            return RoundRobin()
        case "least_requests":
            return LeastRequests()
        case "power_of_two":
            return PowerOfTwo(rng)
        case "random":
            return Random(rng)
        case "session":
            return Session()
