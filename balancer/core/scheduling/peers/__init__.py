"""The rules of other routers, each from its public source, behind our interface.

They are here to be compared, and for who comes from there and wants the same choices. What a rule reads of its router
is read of ours: in-flight requests and tokens from our own counters, engine metrics as last polled, matches from
our prefix index. Cards with formula, source and limits: balancer/core/scheduling/README.md.
"""

from balancer.core.scheduling.peers.dynamo import DynamoCost
from balancer.core.scheduling.peers.llm_d import LlmdBlend, LlmdSticky
from balancer.core.scheduling.peers.lmetric import LMetric
from balancer.core.scheduling.peers.preble import PrebleE2
from balancer.core.scheduling.peers.production_stack import ProductionStackLoadAware
from balancer.core.scheduling.peers.sglang import SglangCacheAware

__all__ = [
    "DynamoCost",
    "LMetric",
    "LlmdBlend",
    "LlmdSticky",
    "PrebleE2",
    "ProductionStackLoadAware",
    "SglangCacheAware",
]
