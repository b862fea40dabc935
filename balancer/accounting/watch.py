"""What is gathered while somebody watches: decisions as they are made, what became of them, and one minute of answers.

Nothing is kept while nobody does: a request then costs two looks at a flag. What is kept is bounded by time and number, never by
traffic: beyond MOST_SHOWN decisions in a second the rest are only counted. Whoever watches polls, so the requests wake nobody.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import exp, floor, log
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
MOST_TEXT = 200
"""and characters of what clients say: models and tenants."""
BIN = 0.05
"""Relative width of the bins in which times are counted."""
LEAST_S = 1e-6

_STEP = log(1 + BIN)


class Event(msgspec.Struct, frozen=True):
    """`number` counts up; `kind` is `decision` or `outcome`; `text` is its JSON."""

    number: int
    kind: str
    value: dict[str, Any]
    text: bytes


class Ttfts:
    """How many there were of about each length: lengths that differ by less than BIN are one."""

    __slots__ = ("_told", "_told_of", "count", "counts")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.count = 0
        self._told: tuple[float, float] | None = None
        self._told_of = 0

    def add(self, value: float) -> None:
        at = floor(log(max(value, LEAST_S)) / _STEP)
        self.counts[at] = self.counts.get(at, 0) + 1
        self.count += 1

    def take(self, others: "Ttfts", sign: int) -> None:
        """Add all of the others (1), or take them away again (-1)."""
        counts = self.counts
        for at, count in others.counts.items():
            left = counts.get(at, 0) + sign * count
            if left:
                counts[at] = left
            else:
                del counts[at]
        self.count += sign * others.count
        self._told_of = -1

    def told(self) -> tuple[float, float] | None:
        """P50 and P90 in seconds, each the middle of its bin."""
        if self._told_of != self.count:
            self._told_of, self._told = self.count, self._percentiles()
        return self._told

    def _percentiles(self) -> tuple[float, float] | None:
        if not self.count:
            return None
        ranked = sorted(self.counts)
        sums = list(accumulate(map(self.counts.__getitem__, ranked)))
        half, most = (ranked[bisect_left(sums, share * self.count)] for share in (0.5, 0.9))
        return round(exp((half + 0.5) * _STEP), 4), round(exp((most + 0.5) * _STEP), 4)


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
    ttfts: Ttfts = field(default_factory=Ttfts)

    def add(self, record: Record) -> None:
        self.answers += record.status < 400
        self.errors += record.status >= 500
        if record.tiered is not None:
            self.usd += record.tiered.usd or 0.0
        if record.status != 200:
            return
        usage = record.usage
        self.output_tokens += record.output_events if usage is None else usage.output_tokens
        if usage is not None and usage.cached_tokens is not None:
            self.known_tokens += usage.prompt_tokens
            self.cached_tokens += usage.cached_tokens


class Window:
    """The last minute of answers, by second."""

    def __init__(self) -> None:
        self._seconds: deque[Second] = deque()
        self._ttfts = Ttfts()

    def add(self, record: Record) -> None:
        at = int(record.ended_at)
        if not self._seconds or self._seconds[-1].at < at:
            self._forget(at)
            self._seconds.append(Second(at))
        second = self._seconds[-1]
        second.add(record)
        if record.status == 200 and record.token_at is not None:
            ttft = record.token_at - record.arrived_at
            second.ttfts.add(ttft)
            self._ttfts.add(ttft)

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0].at <= now - WINDOW_S:
            self._ttfts.take(self._seconds.popleft().ttfts, -1)

    def seconds(self, now: float) -> Sequence[Second]:
        """Those of the last minute, the oldest first."""
        self._forget(int(now))
        return self._seconds

    def points(self, now: float) -> list[tuple[float, float] | None]:
        """TTFT P50 and P90 of each second of the last minute, the oldest first; None: no first token."""
        found: list[tuple[float, float] | None] = [None] * WINDOW_S
        first = int(now) - WINDOW_S + 1
        for each in self.seconds(now):
            if 0 <= each.at - first < WINDOW_S:
                found[each.at - first] = each.ttfts.told()
        return found

    def ttft(self, now: float) -> tuple[float, float] | None:
        """P50 and P90 over the last minute, in seconds."""
        self._forget(int(now))
        return self._ttfts.told()


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


def _told(candidate: Candidate) -> dict[str, Any]:
    told = candidate._asdict()
    return told if candidate.parts is None else told | {"parts": candidate.parts._asdict()}


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
