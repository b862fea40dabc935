"""What goes on, for who watches: the state once, or it every second and decisions as they are made.

All of it is made when asked for, and once for all who watch. A stream is a cursor into what is kept (accounting/watch.py) and
looks for news by itself, so nothing waits for it and it owns no queue. Who reads too slowly is let go.
"""

import asyncio
import logging
from time import monotonic
from typing import Any

import msgspec
from aiohttp import web

from balancer.accounting.watch import Event, Watch
from balancer.core.errors import overloaded
from balancer.frontend.responses import json_response
from balancer.frontend.state import States

log = logging.getLogger("balancer.admin")

EVERY_S = 1.0
"""Between two states."""
LOOK_S = 0.2
"""Between two looks for decisions."""
SLOW_S = 10.0
"""Who has not taken in so long what was written is let go."""
MOST_WATCHERS = 32
BACKLOG = 60
"""Events of before that one gets who begins to watch,"""
RECENT = 20
"""and decisions told with the state alone."""

_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


class Live:
    def __init__(self, watch: Watch, states: States) -> None:
        self._watch = watch
        self._states = states
        self._watchers = 0
        self._made_at_s = float("-inf")
        self._made = b""
        self._making = asyncio.Lock()

    async def state(self) -> web.Response:
        """The state and the latest decisions. Who asks for it is one who watches, for a while."""
        self._watch.look(monotonic())
        return json_response(await self._states.state() | {"decisions": self._recent()})

    async def stream(self, request: web.BaseRequest) -> web.StreamResponse:
        """Server-sent events: `state`, `decision`, `outcome`.

        Raises: Refused (503), if as many watch as may.
        """
        if self._watchers >= MOST_WATCHERS:
            raise overloaded(503, f"At most {MOST_WATCHERS} may watch at a time.", int(SLOW_S))
        self._watchers += 1
        response = web.StreamResponse(headers=_HEADERS)
        try:
            await response.prepare(request)
            await self._follow(response)
        except TimeoutError:
            log.info("one who watched reads too slowly, and is let go")
            if request.transport is not None:
                request.transport.abort()
        except ConnectionResetError:
            pass  # it has gone
        finally:
            self._watchers -= 1
        return response

    async def _follow(self, response: web.StreamResponse) -> None:
        self._watch.look(monotonic())
        cursor, due_s = max(0, self._watch.number - BACKLOG), float("-inf")
        while True:
            now = monotonic()
            out = []
            if now >= due_s:
                due_s = now + EVERY_S
                self._watch.look(now)
                out.append(b"event: state\ndata: %s\n\n" % await self._state())
            for event in self._watch.since(cursor):
                cursor = event.number
                out.append(b"event: %s\nid: %d\ndata: %s\n\n" % (event.kind.encode(), cursor, event.text))
            if out:
                async with asyncio.timeout(SLOW_S):
                    await response.write(b"".join(out))
            await asyncio.sleep(LOOK_S)

    async def _state(self) -> bytes:
        """One for all who watch."""
        async with self._making:
            if monotonic() - self._made_at_s >= EVERY_S / 2:
                self._made = msgspec.json.encode(await self._states.state())
                self._made_at_s = monotonic()
        return self._made

    def _recent(self) -> list[dict[str, Any]]:
        """The latest decisions, each with its outcome once there is one, the newest first."""
        found: dict[int, dict[str, Any]] = {}
        outcomes: dict[int, Event] = {}
        for event in self._watch.since(0):
            if event.kind == "decision":
                found[event.number] = event.value
            else:
                outcomes[event.value["number"]] = event
        latest = sorted(found, reverse=True)[:RECENT]
        return [
            found[number] | {"outcome": outcomes[number].value if number in outcomes else None}
            for number in latest
        ]
