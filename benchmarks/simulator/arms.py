"""What is compared: a policy by name, and what it needs to exist in a simulation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from balancer.core.fleet.speed import PRIOR, Coefficients
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
from benchmarks.simulator.oracle import Oracle
from benchmarks.simulator.peers import LlmdApproximate, LMetricNoQueue
from benchmarks.simulator.replica import SimulatedReplica

INDEX_MAX_BLOCKS = 1_000_000


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`replicas` as they are: for oracles alone. `told_speed` is by what a policy's first idea of speeds is wrong."""

    replicas: Mapping[ReplicaId, SimulatedReplica]
    rng: Rng
    told_speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Arm:
    """`session_header`: its clients name their session, since the policy needs it. `pooled`: the replicas
    share one KV cache of the summed size. `ablation`: a rule changed to see what its parts are worth, which nobody runs.
    """

    name: str
    make: Callable[[Surroundings], Policy]
    session_header: bool = False
    pooled: bool = False
    ablation: bool = False

    @property
    def is_policy(self) -> bool:
        return not self.pooled and not self.ablation


def _index() -> PrefixIndex:
    return PrefixIndex(INDEX_MAX_BLOCKS)


def _predicted_latency(around: Surroundings) -> Policy:
    return PredictedLatency(_index(), prior=Coefficients(*(cost / around.told_speed for cost in PRIOR)))


ORACLE = Arm("oracle2", lambda around: Oracle(around.replicas, sees_steps=False), pooled=True)
"""What others are compared to."""

ARMS = {
    arm.name: arm
    for arm in (
        Arm("random", lambda around: Random(around.rng)),
        Arm("round_robin", lambda _: RoundRobin()),
        Arm("least_requests", lambda _: LeastRequests()),
        Arm("power_of_two", lambda around: PowerOfTwo(around.rng)),
        Arm("session", lambda _: Session(), session_header=True),
        Arm("cache_aware", lambda _: CacheAware(_index())),
        Arm("predicted_latency", _predicted_latency),
        Arm("prefix_hash", lambda _: PrefixHash()),
        Arm("sglang_cache_aware", lambda around: SglangCacheAware(_index(), around.rng)),
        Arm("llm_d_111", lambda around: LlmdApproximate(_index(), around.rng)),
        Arm("llm_d_322", lambda around: LlmdBlend(_index(), around.rng)),
        Arm("llm_d_sticky", lambda around: LlmdSticky(_index(), around.rng)),
        Arm("dynamo_cost", lambda around: DynamoCost(_index(), around.rng)),
        Arm("preble_e2", lambda around: PrebleE2(_index(), around.rng)),
        Arm("lmetric", lambda around: LMetric(_index(), around.rng)),
        Arm("lmetric_np", lambda around: LMetricNoQueue(_index(), around.rng), ablation=True),
        Arm(
            "production_stack_loadaware",
            lambda _: ProductionStackLoadAware(_index()),
            session_header=True,
        ),
        ORACLE,
        Arm("oracle3", lambda around: Oracle(around.replicas, sees_steps=True), pooled=True),
    )
}
