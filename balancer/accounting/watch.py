"""The last minute of answers, gathered while somebody watches. While nobody does, a request costs one look at a flag.

What is kept is bounded by time and by the bins in which times are counted, not by traffic.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import exp, floor, log

from balancer.accounting.receipts import Receipts
from balancer.accounting.record import Record

WINDOW_S = 60
LINGER_S = 60.0
"""For so long it goes on when nobody looks any more: for pages that are loaded anew, and for who polls."""
BIN = 0.05
"""Relative width of the bins in which times are counted."""
LEAST_S = 1e-6

_STEP = log(1 + BIN)


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
        self.usd += record.usd or 0.0
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
    """`on` while somebody watches; `since_s` is when what is told began."""

    def __init__(self) -> None:
        self.on = False
        self.since_s = 0.0
        self.total = Window()
        self.replicas: dict[str, Window] = {}
        self._until_s = 0.0

    def look(self, now: float, before: Receipts) -> None:
        """Somebody looks: it goes on for LINGER_S from now. It begins with what is still known of requests before."""
        if not self.on or now > self._until_s:
            self.total, self.replicas = Window(), {}
            ended, whole = before.ended_since(now - WINDOW_S)
            self.since_s = now - WINDOW_S if whole else ended[0].ended_at if ended else now
            for record in ended:
                self._add(record)
            self.on = True
        self._until_s = now + LINGER_S

    def ended(self, record: Record) -> None:
        """A request has ended."""
        if record.ended_at > self._until_s:
            self.on = False
        else:
            self._add(record)

    def _add(self, record: Record) -> None:
        self.total.add(record)
        if record.replica is not None:
            self.replicas.setdefault(record.replica, Window()).add(record)
