"""The latest requests with their decisions, as long as there is room for them: what the admin API explains.

A decision's candidates are written out only when somebody reads them, so keeping one costs what it holds on to: a row for each
replica that could have had it. Both are bounded, requests and rows.
"""

from collections.abc import Iterator

from balancer.accounting.record import Record

MOST_ROWS = 100_000
"""About 25 MB."""


class Receipts:
    def __init__(self, most: int, most_rows: int = MOST_ROWS) -> None:
        """`most`: requests that have ended; 0: none is kept."""
        self._most = most
        self._most_rows = most_rows
        self._running: dict[str, Record] = {}
        self._ended: dict[str, Record] = {}
        self._rows = 0
        self._dropped = not most  # any that has ended

    def __len__(self) -> int:
        return len(self._running) + len(self._ended)

    def begins(self, record: Record) -> None:
        if self._most and record.decision_id:
            self._running[record.decision_id] = record

    def ended(self, record: Record) -> None:
        if self._running.pop(record.decision_id, None) is None:
            return
        self._ended[record.decision_id] = record
        self._rows += _rows(record)
        while len(self._ended) > self._most or (self._rows > self._most_rows and len(self._ended) > 1):
            self._rows -= _rows(self._ended.pop(next(iter(self._ended))))
            self._dropped = True

    def get(self, decision_id: str) -> Record | None:
        return self._running.get(decision_id) or self._ended.get(decision_id)

    def ended_since(self, since_s: float) -> tuple[list[Record], bool]:
        """Those that ended after that and are kept, the oldest first; and whether these are all that did."""
        ended = [each for each in self._ended.values() if each.ended_at > since_s]
        return ended, len(ended) < len(self._ended) or not self._dropped

    def latest(self) -> Iterator[Record]:
        """Those that run, the latest first, then those that have ended, the latest first."""
        yield from reversed(list(self._running.values()))
        yield from reversed(list(self._ended.values()))


def _rows(record: Record) -> int:
    rows = sum(len(attempt.candidates) for attempt in record.trail)
    return rows + sum(len(offer.decision.candidates) for attempt in record.trail for offer in attempt.offers)
