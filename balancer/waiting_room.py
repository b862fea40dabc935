"""Where requests wait that are not sent yet: the awaiting side of the core's line.

What may open a replica (a first token, the end of an attempt) stirs the room at once. The rest is found by a tick, which
runs while anyone waits: backlogs shrink by the passing of time alone, replicas come and go by their probes.
"""

import asyncio
from time import monotonic

from balancer.core.decider import Decider
from balancer.core.errors import Refused
from balancer.core.scheduling import Charge, Waiting
from balancer.core.types import Decision, ReplicaId, RequestView

TICK_S = 0.02

Placed = tuple[Decision, Charge]


class WaitingRoom:
    def __init__(self, decider: Decider) -> None:
        self._decider = decider
        self._loop = asyncio.get_running_loop()
        self._places: dict[Waiting, asyncio.Future[Placed]] = {}
        self._stirring = False
        self._tick: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<WaitingRoom with {len(self._places)} requests>"

    async def place(
        self, request: RequestView, decision: Decision, tried: frozenset[ReplicaId] = frozenset()
    ) -> Placed:
        """Wait until the request has a replica, none of those that were tried; it is charged for it then.

        Raises: Refused, when nobody is left who could answer, or it may not wait, or no longer.
        """
        waiting = self._decider.line.join(request, decision, monotonic(), tried)
        place: asyncio.Future[Placed] = self._loop.create_future()
        self._places[waiting] = place
        self.stir()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                # it left when it had just been placed
                self._decider.ended(place.result()[1], monotonic(), None)
            raise
        finally:
            del self._places[waiting]
            self._decider.line.leave(waiting)
            self.stir()

    def stir(self) -> None:
        """Something changed: look at who can go, soon."""
        if self._places and not self._stirring:
            self._stirring = True
            self._loop.call_soon(self._release)

    def _release(self) -> None:
        self._stirring = False
        try:
            for waiting, decision in self._decider.line.release(monotonic()):
                self._put(waiting, decision)
        except Exception as defect:  # noqa: BLE001 - whoever waits is told, and nobody waits for ever
            for place in self._places.values():
                if not place.done():
                    place.set_exception(defect)
        finally:
            if self._tick is not None:
                self._tick.cancel()
                self._tick = None
            if len(self._decider.line):
                self._tick = self._loop.call_later(TICK_S, self.stir)

    def _put(self, waiting: Waiting, decision: Decision | Refused) -> None:
        place = self._places[waiting]
        if place.done():
            return  # its client has gone, and its task has not heard of it yet
        if isinstance(decision, Refused):
            place.set_exception(decision)
        else:
            place.set_result((decision, self._decider.dispatch(waiting.request, decision, monotonic())))
