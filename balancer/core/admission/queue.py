"""Those who wait for one model, in the order of their arrival, and who makes room when it is full.

Whose place is taken: of the lowest priority that waits, the tenant with the most requests, and of those the last in order.
It is taken by a higher priority, or at the same one by a tenant that even then has fewer there. So nobody who floods a full
queue keeps others out of it.
"""

from balancer.core.admission.drain_rate import DrainRate
from balancer.core.scheduling import Waiting
from balancer.core.types import RequestView

Crowd = tuple[int, str]
"""Priority and tenant."""


class Queue:
    __slots__ = ("_crowds", "rate", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        self.rate = DrainRate()
        self._crowds: dict[Crowd, int] = {}

    def __len__(self) -> int:
        return len(self.waiting)

    def add(self, waiting: Waiting, now: float) -> None:
        self.rate.begins(now)
        self.waiting.append(waiting)
        crowd = _crowd(waiting.request)
        self._crowds[crowd] = self._crowds.get(crowd, 0) + 1

    def remove(self, waiting: Waiting) -> bool:
        """False, if it is not here."""
        if waiting not in self.waiting:
            return False
        self.waiting.remove(waiting)
        crowd = _crowd(waiting.request)
        self._crowds[crowd] -= 1
        if not self._crowds[crowd]:
            del self._crowds[crowd]
        if not self.waiting:
            self.rate.pauses()
        return True

    def first(self) -> Waiting:
        """Who goes first, of those that wait."""
        return min(self.waiting, key=_turn)

    def last_for(self, request: RequestView) -> Waiting | None:
        """Who makes room for the newcomer, if anybody does."""
        if not self.waiting:
            return None
        lowest = max(priority for priority, _ in self._crowds)
        count, crowd = max(
            ((count, crowd) for crowd, count in self._crowds.items() if crowd[0] == lowest),
            key=_count,
        )
        ours = self._crowds.get(_crowd(request), 0)
        if (request.priority, ours + 1) >= (lowest, count):
            return None
        # reversed: of those with one turn the latest
        return max((each for each in reversed(self.waiting) if _crowd(each.request) == crowd), key=_turn)


def _crowd(request: RequestView) -> Crowd:
    return request.priority, request.tenant


def _turn(waiting: Waiting) -> tuple[int, float, float]:
    return waiting.turn


def _count(counted: tuple[int, Crowd]) -> int:
    return counted[0]
