"""Settings to core objects."""

from balancer.config.build_tiering import Provider
from balancer.config.replica import Replica
from balancer.config.schema import PolicyName, Settings
from balancer.core.admission import Limits
from balancer.core.decider import Decider
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.core.fleet.replica import ReplicaState, Terms
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
from balancer.core.scheduling.peers import (
    DynamoCost,
    LlmdBlend,
    LlmdSticky,
    LMetric,
    PrebleE2,
    ProductionStackLoadAware,
    SglangCacheAware,
)
from balancer.core.scheduling.predicted_latency import PredictedLatency
from balancer.core.scheduling.prefix_hash import PrefixHash
from balancer.core.types import ReplicaId


def make_decider(settings: Settings, rng: Rng) -> Decider:
    """Without replicas: they join."""
    return Decider(Fleet(), make_policy(settings, rng), health_policy(settings))


def make_replica(replica: Replica) -> ReplicaState:
    return ReplicaState(
        id=ReplicaId(replica.name),
        url=replica.url,
        models=None if replica.models is None else frozenset(replica.models),
        declared=replica.models is not None,
        draining=replica.drain,
    )


def make_provider(provider: Provider) -> ReplicaState:
    return ReplicaState(
        ReplicaId(provider.tier),
        provider.url,
        models=frozenset({provider.model}),
        declared=True,
        terms=Terms(),
    )


def health_policy(settings: Settings) -> HealthPolicy:
    return HealthPolicy(
        settings.health_failure_threshold,
        settings.health_success_threshold,
        settings.ejection_s,
        settings.max_ejection_s,
        settings.stall_s,
    )


def admission_limits(settings: Settings) -> Limits:
    return Limits(settings.max_waiting, settings.max_wait_s, settings.overload_status)


def make_policy(settings: Settings, rng: Rng) -> Policy:
    return policy_named(settings.policy, settings.index_max_blocks, rng)


def policy_named(name: PolicyName, index_max_blocks: int, rng: Rng) -> Policy:
    index = PrefixIndex(index_max_blocks)
    match name:
        case "cache_aware":
            return CacheAware(index)
        case "predicted_latency":
            return PredictedLatency(index)
        case "session":
            return Session()
        case "prefix_hash":
            return PrefixHash()
        case "least_requests":
            return LeastRequests()
        case "power_of_two":
            return PowerOfTwo(rng)
        case "round_robin":
            return RoundRobin()
        case "random":
            return Random(rng)
        case "sglang_cache_aware":
            return SglangCacheAware(index, rng)
        case "llm_d_322":
            return LlmdBlend(index, rng)
        case "llm_d_sticky":
            return LlmdSticky(index, rng)
        case "dynamo_cost":
            return DynamoCost(index, rng)
        case "preble_e2":
            return PrebleE2(index, rng)
        case "lmetric":
            return LMetric(index, rng)
        case "production_stack_loadaware":
            return ProductionStackLoadAware(index)
