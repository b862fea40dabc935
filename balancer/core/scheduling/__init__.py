"""Which replica: every policy behind one interface."""

from balancer.core.scheduling.cache_aware import CacheAware
from balancer.core.scheduling.charge import Charge
from balancer.core.scheduling.indexed import Indexed
from balancer.core.scheduling.line import Line, Waiting
from balancer.core.scheduling.load import LeastRequests, PowerOfTwo, Random, RoundRobin
from balancer.core.scheduling.policy import Policy, Rng
from balancer.core.scheduling.session import Session

__all__ = [
    "CacheAware",
    "Charge",
    "Indexed",
    "LeastRequests",
    "Line",
    "Policy",
    "PowerOfTwo",
    "Random",
    "Rng",
    "RoundRobin",
    "Session",
    "Waiting",
]
