"""A model of a vLLM engine: pure, deterministic, counted in tokens and seconds.

It decides what vLLM's scheduler would decide (who runs, what is cached, what is evicted, who is preempted) and says
how long each step takes on given hardware. It knows no text and no token ids, no clock and no randomness: time
is an argument, and a request is two lengths and the hashes of its blocks. One driver runs it behind HTTP in real
time, another in virtual time.
"""

from balancer.embedded.engine.batching import Engine
from balancer.embedded.engine.blocks import BlockPool, hash_blocks, hash_root
from balancer.embedded.engine.profiles import PROFILES, Profile
from balancer.embedded.engine.sequence import (
    EngineBusyError,
    EngineRequest,
    EngineSequence,
    Phase,
    StepResult,
)

__all__ = [
    "PROFILES",
    "BlockPool",
    "Engine",
    "EngineBusyError",
    "EngineRequest",
    "EngineSequence",
    "Phase",
    "Profile",
    "StepResult",
    "hash_blocks",
    "hash_root",
]
