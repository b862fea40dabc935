"""Requests that wait in the balancer for a replica that is worth it (late binding).

While a replica has a backlog, a request gains nothing from standing in its queue, and loses the choice: of another
replica that is done sooner, of being overtaken by less work. So the policy says who waits, who goes next, and where.
The line keeps them apart by model, in the order of their arrival.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from balancer.core.errors import Refused
from balancer.core.fleet.fleet import Fleet
from balancer.core.scheduling.policy import Policy
from balancer.core.types import Decision, RequestView


@dataclass(slots=True, eq=False)
class Waiting:
    """`since` is its arrival; `decision` where the policy would have it go, as of `decided_at`."""

    request: RequestView
    since: float
    decision: Decision
    decided_at: float


class Line:
    def __init__(self, fleet: Fleet, policy: Policy) -> None:
        self._fleet = fleet
        self._policy = policy
        self._waiting: dict[str | None, list[Waiting]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def join(self, request: RequestView, decision: Decision, now: float) -> Waiting:
        waiting = Waiting(request, now, decision, now)
        self._waiting.setdefault(request.model, []).append(waiting)
        self._policy.waits(waiting)
        return waiting

    def leave(self, waiting: Waiting) -> None:
        """It has been sent, or its client has gone. Further calls do nothing."""
        model = waiting.request.model
        there = self._waiting.get(model, [])
        if waiting in there:
            there.remove(waiting)
            self._policy.waits_no_more(waiting)
            if not there:
                del self._waiting[model]

    def release(self, now: float) -> Iterator[tuple[Waiting, Decision | Refused]]:
        """Who goes now, and where; or why not, if nobody is left who could answer. Each must be sent before the next
        is asked for, since that changes what the next finds.
        """
        for model in list(self._waiting):
            while there := self._waiting.get(model):
                try:
                    replicas = self._fleet.eligible(model, now)
                except Refused as refused:
                    for waiting in list(there):
                        self.leave(waiting)
                        yield waiting, refused
                    break
                found = self._policy.release(there, replicas, now)
                if found is None:
                    break
                self.leave(found[0])
                yield found
