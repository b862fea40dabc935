"""Where requests wait that the policy will not send yet: the awaiting side of the core's line.

Whatever may open a replica (a first token, an answer, a probe) stirs the room; a tick does while anyone waits, since
backlogs also shrink by the passing of time alone.
"""

import asyncio
from time import monotonic

from balancer.core.decider import Decider
from balancer.core.errors import Refused
from balancer.core.scheduling import Charge, Waiting
from balancer.core.types import Decision, RequestView

TICK_S = 0.02

Placed = tuple[Decision, Charge]


class WaitingRoom:
    def __init__(self, decider: Decider) -> None:
        self._decider = decider
        self._loop = asyncio.get_running_loop()
        self._places: dict[Waiting, asyncio.Future[Placed]] = {}
        self._stirring = False
        self._tick: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._places)

    async def place(self, request: RequestView, decision: Decision) -> Placed:
        """Wait until the request has a replica; it is charged for it then.

        Raises: Refused, when nobody is left who could answer.
        """
        waiting = self._decider.line.join(request, decision, monotonic())
        place: asyncio.Future[Placed] = self._loop.create_future()
        self._places[waiting] = place
        self.stir()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                place.result()[1].release(monotonic())
            raise
        finally:
            del self._places[waiting]
            self._decider.line.leave(waiting)

    def stir(self) -> None:
        """Something changed: look at who can go, soon."""
        if self._places and not self._stirring:
            self._stirring = True
            self._loop.call_soon(self._release)

    def _release(self) -> None:
        self._stirring = False
        for waiting, decision in self._decider.line.release(now := monotonic()):
            place = self._places[waiting]
            if isinstance(decision, Refused):
                if not place.done():
                    place.set_exception(decision)
            elif not place.done():
                place.set_result((decision, self._decider.dispatch(waiting.request, decision, now)))
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        if len(self._decider.line):
            self._tick = self._loop.call_later(TICK_S, self.stir)
