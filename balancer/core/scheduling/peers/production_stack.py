"""production-stack's router, `loadaware` (vllm-project/production-stack#1035, merged 2026-08-09).

    score_i = matched_i / prompt - BETA * (n_i - mean n) / max(1, mean n),  highest wins, ties go to the first by name

n_i: requests in flight on i. If nobody holds anything of the prompt: the session's home, if a header names a session, else
the replica with the lowest request rate over the last minute.

Theirs asks LMCache's controller what an engine holds, for `prompt` alone; here the prefix index tells, for every
prompt. Their hash ring is a rendezvous order here.
"""

from collections.abc import Sequence
from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling.charge import Charge
from balancer.core.scheduling.indexed import uncached_tokens
from balancer.core.scheduling.peers.lowest_cost import LowestCost
from balancer.core.scheduling.peers.window import Window
from balancer.core.scheduling.rendezvous import rendezvous
from balancer.core.scheduling.session import hashed
from balancer.core.types import Decision, RequestView

BETA = 1.0
RATE_WINDOW_S = 60.0


class ProductionStackLoadAware(LowestCost):
    name: ClassVar[str] = "production_stack_loadaware"

    def __init__(self, index: PrefixIndex) -> None:
        super().__init__(index, lambda: 0.0)  # the first of those that tie
        self._sent: dict[ReplicaState, Window] = {}

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        by_name = sorted(replicas, key=lambda replica: replica.id)
        matched = self._matched_tokens(request, by_name)
        if any(matched):
            mean = sum(replica.in_flight for replica in by_name) / len(by_name)
            costs = [
                BETA * (replica.in_flight - mean) / max(1.0, mean) - hit / request.prompt_tokens
                for replica, hit in zip(by_name, matched, strict=True)
            ]
            return self._lowest(request, by_name, matched, costs, "highest_score")
        if request.session is not None:
            home = rendezvous(hashed(request.session).encode("utf-8", "surrogatepass"), by_name)[0]
            return Decision(home.id, "session", 0, uncached_tokens(request, 0))
        rates = [self._sent[replica].total(now) for replica in by_name]
        return self._lowest(request, by_name, matched, rates, "lowest_rate")

    def joined(self, replica: ReplicaState) -> None:
        super().joined(replica)
        self._sent[replica] = Window(RATE_WINDOW_S)

    def left(self, replica: ReplicaState) -> None:
        super().left(replica)
        del self._sent[replica]

    def dispatched(self, charge: Charge, now: float) -> None:
        super().dispatched(charge, now)
        self._sent[charge.replica].add(1, now)
