"""oracle2: the bound. It knows every queue exactly, and its replicas share one KV cache, so nothing is ever
computed twice or missed for where it was put. oracle3 also knows when each replica's current step ends.

    cost_i = rest_i + (P_i + u) * prefill + step_i * (1 + P_i / budget) + INFLICTED * u * prefill * running_i

rest_i: what is left of i's current step, for oracle3 alone; P_i: tokens that i has yet to prefill after it; u: this
prompt's uncached tokens; step_i: a decode step of i now. Least wins.
It bounds what a router over private caches can reach up to BOUND_LOAD. Beyond, late binding beats it: it is greedy, and
since no engine preempts for another, one may fill the shared cache with its running requests while others starve.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling import Policy
from balancer.core.types import Decision, Reads, ReplicaId, RequestView
from balancer.embedded.engine import Engine
from benchmarks.simulator.replica import SimulatedReplica

BOUND_LOAD = 0.9
INFLICTED = 0.05
LOOKED_AT = 64
"""So many waiting requests are looked up in the cache; those behind them are taken for their mean."""


class Oracle(Policy):
    name: ClassVar[str] = "oracle"
    reads: ClassVar[Reads] = Reads.PROMPT

    def __init__(self, replicas: Mapping[ReplicaId, SimulatedReplica], *, sees_steps: bool) -> None:
        self._replicas = replicas
        self._sees_steps = sees_steps
        self._turn = 0

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        self._turn += 1
        best: tuple[float, int] | None = None
        chosen, uncached = replicas[0], 0
        for replica in replicas:
            simulated = self._replicas[replica.id]
            engine = simulated.engine
            profile = engine.profile
            own = _uncached(engine, request.block_keys, request.prompt_tokens)
            ahead = sum(map(engine.tokens_to_prefill, engine.prefilling)) + _queued(engine)
            step_s = profile.step_s(
                prefill_tokens=0,
                attention=0,
                decode_sequences=len(engine.decoding),
                decode_context_tokens=engine.decode_context_tokens,
            )
            rest_s = max(0.0, simulated.step_ends_s - now) if self._sees_steps else 0.0
            cost = (
                rest_s
                + (ahead + own) * profile.prefill_s_per_token
                + step_s * (1 + ahead / engine.max_num_batched_tokens)
                + INFLICTED * own * profile.prefill_s_per_token * engine.num_running
            )
            rank = (cost, replica.last_chosen)
            if best is None or rank < best:
                best, chosen, uncached = rank, replica, own
        chosen.last_chosen = self._turn
        return Decision(chosen.id, "least_time", request.prompt_tokens - uncached, uncached)


def _uncached(engine: Engine, keys: Sequence[int], tokens: int) -> int:
    return tokens - engine.block_size * engine.pool.match(keys, (tokens - 1) // engine.block_size)


def _queued(engine: Engine) -> float:
    looked_at = [
        _uncached(engine, sequence.request.block_hashes, engine.tokens_to_prefill(sequence))
        for sequence in islice(engine.waiting, LOOKED_AT)
    ]
    return sum(looked_at) * engine.num_waiting / len(looked_at) if looked_at else 0.0
