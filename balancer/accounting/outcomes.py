"""What became of requests that were given to a tier: rows of a bounded file, written by a thread of its own.

The law: no request waits for the disk, and none fails because of it. What the thread cannot take is dropped and counted; what the
file does not take is lost, counted, and told of in the log once in a while.
"""

import asyncio
import logging
import sqlite3
import threading
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Full, Queue
from secrets import token_bytes
from time import monotonic, time

from balancer.accounting.outcome_store import DAY_S, Outcome, Store, Told, UnusableLog
from balancer.accounting.record import Record
from balancer.config import ConfigError, Mistake, Settings
from balancer.core.errors import feedback_not_written
from balancer.core.tiering.feedback import Feedback
from balancer.core.tiering.mood import Moods
from balancer.core.tiering.types import QualityFloor, StrongShare, Target, Threshold

log = logging.getLogger("balancer.outcomes")

QUEUE_ROWS = 4096
BATCH_ROWS = 256
GATHER_S = 0.1
"""How long the first row of a batch waits for others: this much is lost when the process is killed."""
IDLE_S = 60.0
WARN_EVERY_S = 60.0
RATE_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Keeps:
    """The bounds of the file, and whether the text of last turns, and comments, may stand in it."""

    max_rows: int
    max_days: float
    prompts: bool


@dataclass(slots=True)
class _Rating:
    feedback: Feedback
    tenant: str
    at: float
    told: "Future[Told | None]" = field(default_factory=Future)


_Item = tuple[Record, float] | _Rating | None
"""None is the last one."""


class OutcomeLog:
    """`keeps` may be replaced at any time. `moods` are the ratings of conversations that may still go on.

    Counted are rows `written`, `dropped` (the queue was full) and `failed` (the file took them not), and `feedback` by its kind
    and what became of it.
    """

    def __init__(self, path: Path, keeps: Keeps, *, queue_rows: int = QUEUE_ROWS) -> None:
        """Raises: OSError, UnusableLog."""
        self.keeps = keeps
        self.moods = Moods(token_bytes(16))
        self.written = self.dropped = self.failed = 0
        self.feedback: Counter[tuple[str, str]] = Counter()
        self._store = Store(path)
        self.rows = self._store.rows()
        self._queue: Queue[_Item] = Queue(queue_rows)
        self._warned_at = -WARN_EVERY_S
        self._thread = threading.Thread(target=self._write_all, name="outcomes", daemon=True)
        self._thread.start()

    def add(self, record: Record) -> None:
        """Take the record of a request that has ended, and was tiered; nothing of it changes any more."""
        try:
            self._queue.put_nowait((record, time()))
        except Full:
            self.dropped += 1

    async def rate(self, feedback: Feedback, tenant: str) -> Told | None:
        """None: the tenant has made no such decision, or it is forgotten.

        Raises: Refused (503), if it was not written, as far as is known.
        """
        rating = _Rating(feedback, tenant, time())
        try:
            self._queue.put_nowait(rating)
            async with asyncio.timeout(RATE_TIMEOUT_S):
                told = await asyncio.wrap_future(rating.told)
        except (Full, TimeoutError, sqlite3.Error):
            self.feedback[feedback.kind, "failed"] += 1
            raise feedback_not_written() from None
        self.feedback[
            feedback.kind, "unknown" if told is None else "replaced" if told.replaced else "kept"
        ] += 1
        if told is not None:
            self.moods.rate(told.conversation, _pleased(feedback))
        return told

    async def close(self) -> None:
        """Write what is queued, unless the disk takes too long for it."""
        try:
            await asyncio.to_thread(self._queue.put, None, timeout=CLOSE_TIMEOUT_S)
        except Full:
            return
        await asyncio.to_thread(self._thread.join, CLOSE_TIMEOUT_S)

    def _write_all(self) -> None:
        """The thread."""
        try:
            while self._write_some():
                pass
        finally:
            self._store.close()

    def _write_some(self) -> bool:
        """One batch of rows, and what stopped it from growing: whoever gives feedback waits for an answer."""
        batch: list[tuple[Record, float]] = []
        item = self._next(IDLE_S)
        until = monotonic() + GATHER_S
        while isinstance(item, tuple):
            batch.append(item)
            if len(batch) == BATCH_ROWS:
                item = Empty
                break
            item = self._next(until - monotonic())
        if batch:
            self._insert(batch)
        if isinstance(item, _Rating):
            self._rate(item)
        self._trim()
        return item is not None

    def _next(self, within_s: float) -> "_Item | type[Empty]":
        try:
            return self._queue.get(timeout=max(0.0, within_s))
        except Empty:
            return Empty

    def _insert(self, batch: list[tuple[Record, float]]) -> None:
        prompts = self.keeps.prompts
        rows = [outcome_of(record, at, self.moods, prompts=prompts) for record, at in batch]
        try:
            self.written += self._store.add(rows)
        except sqlite3.OperationalError as error:  # the disk, or whoever holds the file
            self.failed += len(rows)
            self._warn(error)
        except (
            sqlite3.Error,
            OverflowError,
        ) as error:  # a number, say, that is none that a replica should tell
            if len(rows) > 1:
                for each in batch:
                    self._insert([each])
            else:
                self.failed += 1
                self._warn(error)

    def _rate(self, rating: _Rating) -> None:
        said = rating.feedback
        comment = said.comment if said.comment and self.keeps.prompts else None
        try:
            told = self._store.rate(
                said.decision_id, rating.tenant, rating.at, said.rating, said.winner, comment
            )
        except sqlite3.Error as error:
            self._warn(error)
            if rating.told.set_running_or_notify_cancel():
                rating.told.set_exception(error)
            return
        if rating.told.set_running_or_notify_cancel():  # else nobody waits any more
            rating.told.set_result(told)

    def _trim(self) -> None:
        try:
            self._store.trim(self.keeps.max_rows, time() - self.keeps.max_days * DAY_S)
            self.rows = self._store.rows()
        except sqlite3.Error as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        now = monotonic()
        if now - self._warned_at >= WARN_EVERY_S:
            self._warned_at = now
            log.error("the outcome log could not be written: %s; %d rows are lost", error, self.failed)


def kept_outcomes(settings: Settings) -> Keeps:
    return Keeps(settings.outcome_log_max_rows, settings.outcome_log_max_days, settings.outcome_log_prompts)


def open_outcomes(settings: Settings) -> OutcomeLog | None:
    """None, where none is asked for.

    Raises: ConfigError, if the file is none that can be written to.
    """
    if settings.outcome_log is None:
        return None
    try:
        return OutcomeLog(settings.outcome_log, kept_outcomes(settings))
    except (OSError, UnusableLog) as error:
        expected = "an outcome log, or a file that can be made"
        raise ConfigError([Mistake("outcome_log", f"{expected}: {error}")]) from None


def outcome_of(record: Record, at: float, moods: Moods, *, prompts: bool) -> Outcome:
    """The row of a tiered request that ended at `at` (unix time)."""
    tiered, usage = record.tiered, record.usage
    assert tiered is not None
    return Outcome(
        record.decision_id,
        at,
        tiered.asked,
        _target(tiered.target),
        tiered.tenant,
        moods.key(tiered.tenant, tiered.conversation),
        tiered.score,
        tiered.spread,
        tiered.threshold,
        tiered.tier,
        tiered.model,
        tiered.reason,
        tiered.rule,
        tiered.arm,
        tiered.propensity,
        tiered.explored,
        tiered.shadow,
        record.status,
        record.ended_by,
        None if record.token_at is None else record.token_at - record.arrived_at,
        record.ended_at - record.arrived_at,
        usage and usage.prompt_tokens,
        usage and usage.cached_tokens,
        usage and usage.output_tokens,
        record.usd,
        tiered.options,
        tiered.left,
        tiered.text if prompts else None,
    )


def _target(target: Target | None) -> str:
    match target:
        case StrongShare(share):
            return f"share {share:g}"
        case QualityFloor(floor):
            return f"floor {floor:g}"
        case Threshold(score):
            return f"threshold {score:g}"
    return ""


def _pleased(feedback: Feedback) -> float:
    """Whether the client wants better: a rating, or 0 where the strong tier would have been."""
    return float(feedback.winner != "strong") if feedback.rating is None else feedback.rating
