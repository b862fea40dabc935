"""What goes on, for who watches: the state once, or it every second and decisions as they are made.

All of it is made when asked for, and once for all who watch: from what the receipts and the watch keep anyway, looked at now and
then, so that no request does anything for it. A stream is a cursor into the latest news: it owns no queue. Who reads too slowly
is let go.
"""

import asyncio
import logging
from collections import deque
from time import monotonic
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from balancer.accounting.receipts import Receipts
from balancer.accounting.record import Record
from balancer.accounting.watch import Watch
from balancer.core.errors import overloaded
from balancer.frontend.decisions import short
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
MOST_SHOWN = 20
"""New requests that one look shows, the latest: the others are counted."""
RECENT = 40
"""Requests told to one who begins to watch."""
MOST_TEXT = 200
"""Characters of what clients say: models and tenants."""

_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


class _Event(NamedTuple):
    number: int
    text: bytes


class News:
    """What came and what changed among the receipts since the last look. `skipped` counts requests that were not shown."""

    def __init__(self, receipts: Receipts) -> None:
        self._receipts = receipts
        self._looked_at_s = float("-inf")
        self._known: dict[
            str, tuple[int, bool] | None
        ] = {}  # attempts, and whether it ended; None: not shown
        self._events: deque[_Event] = deque(maxlen=4 * RECENT)
        self.number = 0
        self.skipped = 0

    def look(self, now: float) -> None:
        if now - self._looked_at_s < LOOK_S / 2:
            return
        self._looked_at_s = now
        known, self._known = self._known, {}
        most, new, news = MOST_SHOWN if known else RECENT, 0, []
        for record in self._receipts.latest():
            if not record.trail:
                continue
            state = len(record.trail), bool(record.ended_at)
            before = known.get(record.decision_id, ())
            if before == ():
                new += 1
            if before is None or (before == () and new > most):
                self._known[record.decision_id] = None
                continue
            self._known[record.decision_id] = state
            if before != state:
                news.append(record)
        if known:
            self.skipped += max(0, new - most)
        for record in reversed(news):
            self.number += 1
            self._events.append(_Event(self.number, msgspec.json.encode(told(record))))

    def since(self, number: int) -> list[_Event]:
        """What came after that, as far as it is kept."""
        return [each for each in self._events if each.number > number]


class Live:
    def __init__(self, watch: Watch, states: States, receipts: Receipts) -> None:
        self._watch = watch
        self._states = states
        self._receipts = receipts
        self._news = News(receipts)
        self._watchers = 0
        self._made_at_s = float("-inf")
        self._made = b""
        self._making = asyncio.Lock()

    async def state(self) -> web.Response:
        """The state and the latest decisions. Who asks for it is one who watches, for a while."""
        self._watch.look(monotonic(), self._receipts)
        latest = (record for record in self._receipts.latest() if record.trail)
        recent = sorted(latest, key=lambda record: record.arrived_at, reverse=True)[:RECENT]
        return json_response(await self._states.state() | {"decisions": [told(record) for record in recent]})

    async def stream(self, request: web.BaseRequest) -> web.StreamResponse:
        """Server-sent events: `state`, and `decision` whenever one is made and when its request has ended.

        Raises: Refused (503), if as many watch as may.
        """
        if self._watchers >= MOST_WATCHERS:
            raise overloaded(503, f"At most {MOST_WATCHERS} may watch at a time.", int(SLOW_S))
        if not self._watchers:
            self._news = News(self._receipts)
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
        news = self._news
        cursor, due_s = max(0, news.number - 2 * RECENT), float("-inf")
        while True:
            now = monotonic()
            out = []
            if now >= due_s:
                due_s = now + EVERY_S
                out.append(b"event: state\ndata: %s\n\n" % await self._state())
            news.look(now)
            for event in news.since(cursor):
                cursor = event.number
                out.append(b"event: decision\ndata: %s\n\n" % event.text)
            if out:
                async with asyncio.timeout(SLOW_S):
                    await response.write(b"".join(out))
            await asyncio.sleep(LOOK_S)

    async def _state(self) -> bytes:
        """One for all who watch."""
        async with self._making:
            if monotonic() - self._made_at_s >= EVERY_S / 2:
                self._watch.look(monotonic(), self._receipts)
                state = await self._states.state() | {"skipped": self._news.skipped}
                self._made, self._made_at_s = msgspec.json.encode(state), monotonic()
        return self._made


def told(record: Record) -> dict[str, Any]:
    """A request in short; names that clients gave are cut."""
    found = short(record)
    tiered = record.tiered
    return found | {
        "model": _cut(found["model"]),
        "tenant": _cut(found["tenant"]),
        "tier_reason": None if tiered is None else tiered.reason,
        "ended_by": record.ended_by if record.ended_at else None,
    }


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
