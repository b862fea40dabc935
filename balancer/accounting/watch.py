"""What is gathered while somebody watches: decisions as they are made, what became of them, and one minute of answers.

Nothing is kept while nobody does: a request then costs two looks at a flag. What is kept is bounded by time and number, never by
traffic: beyond MOST_SHOWN decisions in a second the rest are only counted. Whoever watches polls, so the requests wake nobody.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from time import time
from typing import Any

import msgspec

from balancer.accounting.record import Record
from balancer.core.types import Candidate, Decision

WINDOW_S = 60
LINGER_S = 60.0
"""For so long it goes on when nobody looks any more: for pages that are loaded anew, and for who polls."""
MOST_SHOWN = 40
"""Decisions shown of one second,"""
MOST_CANDIDATES = 16
"""candidates of one decision,"""
MOST_KEPT = 400
"""events kept for who comes next,"""
MOST_TTFTS = 100
"""and first tokens of one second for the percentiles of a replica."""
MOST_TEXT = 200
"""Characters of what clients say: models and tenants."""


class Event(msgspec.Struct, frozen=True):
    """`number` counts up; `kind` is `decision` or `outcome`; `text` is its JSON."""

    number: int
    kind: str
    value: dict[str, Any]
    text: bytes


@dataclass(slots=True)
class Second:
    """What ended in one second. `known_tokens` are those of prompts whose answers told what was cached; a stream that
    tells no usage brought as many output tokens as events.
    """

    at: int
    answers: int = 0
    errors: int = 0
    known_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    ttfts: list[float] = field(default_factory=list)
    seen: int = -1  # of `ttfts`, when the percentiles were made
    percentiles: tuple[float, float] | None = None

    def told(self) -> tuple[float, float] | None:
        """TTFT P50 and P90, in seconds."""
        if self.seen != len(self.ttfts):
            self.seen, self.percentiles = len(self.ttfts), percentiles(self.ttfts)
        return self.percentiles


class Window:
    """The last minute of answers, by second."""

    def __init__(self) -> None:
        self._seconds: deque[Second] = deque(maxlen=WINDOW_S + 1)

    def add(self, record: Record) -> None:
        at = int(record.ended_at)
        if not self._seconds or self._seconds[-1].at < at:
            self._seconds.append(Second(at))
        second = self._seconds[-1]
        second.answers += record.status < 400
        second.errors += record.status >= 500
        if record.tiered is not None:
            second.usd += record.tiered.usd or 0.0
        if record.status != 200:
            return
        if record.token_at is not None and len(second.ttfts) < MOST_TTFTS:
            second.ttfts.append(record.token_at - record.arrived_at)
        usage = record.usage
        second.output_tokens += record.output_events if usage is None else usage.output_tokens
        if usage is not None and usage.cached_tokens is not None:
            second.known_tokens += usage.prompt_tokens
            second.cached_tokens += usage.cached_tokens

    def seconds(self, now: float) -> Iterator[Second]:
        """Those of the last minute, the oldest first."""
        return (each for each in self._seconds if each.at > now - WINDOW_S)

    def points(self, now: float) -> list[tuple[float, float] | None]:
        """TTFT P50 and P90 of each second of the last minute, the oldest first; None: no first token."""
        found = {each.at: each.told() for each in self.seconds(now)}
        last = int(now)
        return [found.get(at) for at in range(last - WINDOW_S + 1, last + 1)]

    def ttft(self, now: float) -> tuple[float, float] | None:
        """P50 and P90 over the last minute, in seconds."""
        return percentiles([value for each in self.seconds(now) for value in each.ttfts])


class Watch:
    """`on` while somebody watches; `since_s` is when it began, `skipped` how many decisions were not shown."""

    def __init__(self) -> None:
        self.on = False
        self.since_s = 0.0
        self.skipped = 0
        self.total = Window()
        self.replicas: dict[str, Window] = {}
        self._until_s = 0.0
        self._events: deque[Event] = deque(maxlen=MOST_KEPT)
        self._number = 0
        self._shown: dict[int, tuple[int, int]] = {}
        self._second = (0, 0)

    def look(self, now: float) -> None:
        """Somebody looks: it goes on for LINGER_S from now."""
        if not self.on or now > self._until_s:
            self._begin(now)
        self._until_s = now + LINGER_S

    def _begin(self, now: float) -> None:
        self.on, self.since_s, self.skipped = True, now, 0
        self.total, self.replicas = Window(), {}
        self._shown.clear()
        self._events.clear()

    def decided(self, record: Record, decision: Decision) -> None:
        """The attempt that `record` tells of is about to be sent."""
        if record.sent_at > self._until_s:
            self.on = False
            return
        at, shown = self._second
        if int(record.sent_at) != at:
            at, shown = int(record.sent_at), 0
        self._second = at, shown + 1
        if shown >= MOST_SHOWN:
            self.skipped += 1
            return
        number = self._number + 1
        before = self._shown.get(id(record))
        request = number if before is None else before[1]
        self._shown[id(record)] = number, request
        tiered = record.tiered
        self._tell(
            "decision",
            {
                "number": number,
                "request": request,
                "id": record.decision_id or None,
                "at": time(),
                "attempt": record.attempts,
                "path": record.path,
                "model": _short(record.model),
                "tenant": _short(record.tenant) or None,
                "replica": decision.replica,
                "reason": decision.reason,
                "matched_tokens": decision.matched_tokens,
                "uncached_tokens": decision.uncached_tokens,
                "predicted_ttft_s": decision.predicted_s,
                "waited_s": record.waited_s,
                "decided_s": record.decided_s,
                "tier": None
                if tiered is None
                else {
                    "asked": _short(tiered.asked),
                    "name": tiered.tier,
                    "reason": tiered.reason,
                    "rule": tiered.rule or None,
                    "score": tiered.score,
                    "threshold": tiered.threshold,
                    "left": tiered.left,
                },
                "candidates": [_told(each) for each in decision.candidates[:MOST_CANDIDATES]],
                "candidates_in_all": len(decision.candidates),
            },
        )

    def ended(self, record: Record) -> None:
        """The request has ended."""
        self.total.add(record)
        if record.replica is not None:
            self.replicas.setdefault(record.replica, Window()).add(record)
        shown = self._shown.pop(id(record), None)
        if shown is None:
            return
        usage, tiered, token_at = record.usage, record.tiered, record.token_at
        self._tell(
            "outcome",
            {
                "number": shown[0],
                "request": shown[1],
                "status": record.status,
                "ended_by": record.ended_by,
                "attempts": record.attempts,
                "resumed": record.resumed,
                "ttft_s": None if token_at is None else token_at - record.arrived_at,
                "duration_s": record.ended_at - record.arrived_at,
                "prompt_tokens": None if usage is None else usage.prompt_tokens,
                "cached_tokens": None if usage is None else usage.cached_tokens,
                "output_tokens": None if usage is None else usage.output_tokens,
                "usd": None if tiered is None else tiered.usd,
            },
        )

    def since(self, number: int) -> list[Event]:
        """What came after that event, as far as it is kept."""
        return [each for each in self._events if each.number > number]

    @property
    def number(self) -> int:
        """Of the latest event."""
        return self._number

    def _tell(self, kind: str, value: dict[str, Any]) -> None:
        self._number += 1
        self._events.append(Event(self._number, kind, value, msgspec.json.encode(value)))


def percentiles(values: list[float]) -> tuple[float, float] | None:
    """The 50th and the 90th, each one of the values (nearest rank)."""
    if not values:
        return None
    ranked, count = sorted(values), len(values)
    return ranked[ceil(0.5 * count) - 1], ranked[ceil(0.9 * count) - 1]


def _told(candidate: Candidate) -> dict[str, Any]:
    told = candidate._asdict()
    return told if candidate.parts is None else told | {"parts": candidate.parts._asdict()}


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
