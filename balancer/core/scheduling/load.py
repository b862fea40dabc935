"""Policies that look at load alone."""

from collections.abc import Sequence
from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling.policy import Policy, Rng
from balancer.core.types import Candidate, Decision, RequestView


class RoundRobin(Policy):
    """Each in turn: the replica whose last turn is longest ago, so that a fleet that shrinks and grows stays even."""

    name: ClassVar[str] = "round_robin"

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        self._turn += 1
        chosen = replicas[0]
        for replica in replicas:
            if replica.last_chosen < chosen.last_chosen:
                chosen = replica
        chosen.last_chosen = self._turn
        return Decision(chosen.id, "next_in_turn")


class Random(Policy):
    """Uniform, independent of everything."""

    name: ClassVar[str] = "random"

    def __init__(self, rng: Rng) -> None:
        self._rng = rng

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        return Decision(replicas[int(self._rng() * len(replicas))].id, "random")


class LeastRequests(Policy):
    """The replica with the fewest requests in flight; ties go to the one chosen longest ago."""

    name: ClassVar[str] = "least_requests"

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        self._turn += 1
        chosen = min(replicas, key=lambda replica: (replica.load(now), replica.last_chosen))
        chosen.last_chosen = self._turn
        return Decision(chosen.id, "least_loaded", candidates=_by_load(replicas, now))


class PowerOfTwo(Policy):
    """The less loaded of two different replicas drawn at random (Mitzenmacher 2001): nearly as even as least
    requests, and it doesn't herd when several balancers share a fleet.
    """

    name: ClassVar[str] = "power_of_two"

    def __init__(self, rng: Rng) -> None:
        self._rng = rng

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        count = len(replicas)
        if count == 1:
            return Decision(replicas[0].id, "only_one")
        first = int(self._rng() * count)
        second = int(self._rng() * (count - 1))
        second += second >= first
        pair = (replicas[first], replicas[second])
        chosen = min(pair, key=lambda replica: replica.load(now))
        return Decision(chosen.id, "less_loaded_of_two", candidates=_by_load(pair, now))


def _by_load(replicas: Sequence[ReplicaState], now: float) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(replica.id, replica.load(now), 0, replica.in_flight, replica.pending_tokens)
        for replica in sorted(replicas, key=lambda replica: replica.load(now))
    )
