"""Which replica: every policy behind one interface."""

from balancer.core.scheduling.cache_aware import CacheAware
from balancer.core.scheduling.charge import Charge
from balancer.core.scheduling.indexed import Indexed
from balancer.core.scheduling.load import LeastRequests, PowerOfTwo, Random, RoundRobin
from balancer.core.scheduling.policy import Policy, Quote, Rng
from balancer.core.scheduling.session import Session
from balancer.core.scheduling.waiting import Waiting

__all__ = [
    "CacheAware",
    "Charge",
    "Indexed",
    "LeastRequests",
    "Policy",
    "PowerOfTwo",
    "Quote",
    "Random",
    "Rng",
    "RoundRobin",
    "Session",
    "Waiting",
]
