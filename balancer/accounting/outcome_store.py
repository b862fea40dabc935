"""The file of outcomes: one row for each request that was given to a tier, and what its client said of it. SQLite, in WAL mode.

The law: who kills the process loses at most what was not written yet, and never the file. The file is bounded in rows, in days,
and in what a row holds. Text of prompts and comments is there only if it was handed in, and what is deleted is overwritten. No
threads here, no queue: `outcomes.py` has those.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

APPLICATION_ID = 0x76424F4C  # "vBOL"
SCHEMA = 1
DAY_S = 86_400

MAX_NAME_CHARS = 200
MAX_TEXT_CHARS = 4_000
MAX_LISTED = 20
BUSY_MS = 5_000
"""How long another process, such as a report, may hold the file."""

_TABLES = """
CREATE TABLE decisions (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, at REAL NOT NULL, virtual TEXT NOT NULL, target TEXT NOT NULL,
  tenant TEXT NOT NULL, conversation BLOB NOT NULL, score REAL, spread REAL, threshold REAL, tier TEXT NOT NULL,
  model TEXT NOT NULL, reason TEXT NOT NULL, rule TEXT NOT NULL, arm TEXT NOT NULL, propensity REAL NOT NULL,
  explored INTEGER NOT NULL, shadow TEXT NOT NULL, status INTEGER NOT NULL, ended_by TEXT NOT NULL, ttft_s REAL, duration_s REAL,
  prompt_tokens INTEGER, cached_tokens INTEGER, output_tokens INTEGER, usd REAL, options TEXT NOT NULL, left_tiers TEXT NOT NULL,
  prompt TEXT
);
CREATE TABLE feedback (
  seq INTEGER PRIMARY KEY REFERENCES decisions (seq) ON DELETE CASCADE, at REAL NOT NULL, rating REAL, winner TEXT, comment TEXT
);
"""


class UnusableLog(Exception):
    """The file is there and is no outcome log, or one that this version does not know; the message says which."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row. `at` is unix time, `conversation` a key that leads back to nothing, `options` the tiers that might have served
    it, the weakest first, with their costs, `left` the tiers that failed before, with why; `prompt` is None unless it may be
    kept.
    """

    id: str
    at: float
    virtual: str
    target: str
    tenant: str
    conversation: bytes
    score: float | None
    spread: float | None
    threshold: float | None
    tier: str
    model: str
    reason: str
    rule: str
    arm: str
    propensity: float
    explored: bool
    shadow: str
    status: int
    ended_by: str
    ttft_s: float | None
    duration_s: float
    prompt_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    usd: float | None
    options: Sequence[tuple[str, float | None]]
    left: Sequence[tuple[str, str]]
    prompt: str | None = None


class Told(NamedTuple):
    """Of which conversation the decision was that feedback is about, and whether there was feedback before."""

    conversation: bytes
    replaced: bool


_COLUMNS = tuple("left_tiers" if name == "left" else name for name in Outcome.__slots__)
_INSERT = f"INSERT OR IGNORE INTO decisions ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - our own names


class Store:
    """Everything raises sqlite3.Error, where the disk is full or the file is held, and leaves the file as it was before."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it, readable by its owner alone.

        Raises: OSError, UnusableLog.
        """
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        # whoever opens it and who writes are two threads; never at once
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._db.close()
            raise UnusableLog(str(error)) from None
        except UnusableLog:
            self._db.close()
            raise

    def _prepare(self) -> None:
        db = self._db
        db.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        # what is known of the file is asked before anything is written to it
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            _recognise(db)
        db.execute("PRAGMA journal_mode=WAL")
        # a commit is safe from a killed process at once, from a lost machine at the next checkpoint
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA secure_delete=ON")
        db.execute("PRAGMA foreign_keys=ON")
        with _Transaction(db):
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in _TABLES.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id={APPLICATION_ID}")
                db.execute(f"PRAGMA user_version={SCHEMA}")

    def add(self, outcomes: Iterable[Outcome]) -> int:
        """How many were written; one whose id is there already is not."""
        before = self._db.total_changes
        with _Transaction(self._db):
            self._db.executemany(_INSERT, map(_row, outcomes))
        return self._db.total_changes - before

    def rate(
        self,
        decision_id: str,
        tenant: str,
        at: float,
        rating: float | None,
        winner: str | None,
        comment: str | None,
    ) -> Told | None:
        """Keep what was said of a decision, in the place of what was said before; None: the tenant has no such decision."""
        with _Transaction(self._db):
            found = self._db.execute(
                "SELECT seq, conversation FROM decisions WHERE id = ? AND tenant = ?",
                (clean(decision_id), clean(tenant)),
            ).fetchone()
            if found is None:
                return None
            seq, conversation = found
            there = self._db.execute("SELECT 1 FROM feedback WHERE seq = ?", (seq,)).fetchone()
            self._db.execute(
                "INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?, ?)",
                (seq, at, rating, winner, comment and clean(comment, MAX_TEXT_CHARS)),
            )
        return Told(conversation, there is not None)

    def trim(self, max_rows: int, before: float) -> None:
        """The oldest go: those that are too many, and those from before that time."""
        with _Transaction(self._db):
            self._db.execute(
                "DELETE FROM decisions WHERE seq <= (SELECT max(seq) FROM decisions) - ?", (max_rows,)
            )
            while self._db.execute(  # they are in order but for what requests took; the oldest row tells enough
                "DELETE FROM decisions WHERE seq IN (SELECT seq FROM decisions ORDER BY seq LIMIT 500) AND at < ?",
                (before,),
            ).rowcount:
                pass

    def rows(self) -> int:
        first, last = self._db.execute("SELECT min(seq), max(seq) FROM decisions").fetchone()
        return 0 if last is None else int(last - first + 1)

    def close(self) -> None:
        self._db.close()


class Reading:
    """A file of outcomes, read and never changed; a balancer may be writing to it."""

    def __init__(self, path: Path) -> None:
        """Raises: OSError, UnusableLog."""
        with path.open("rb"):
            pass
        try:
            self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        except sqlite3.Error as error:
            raise UnusableLog(str(error)) from None
        try:
            self._db.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            _recognise(self._db)
        except (sqlite3.Error, UnusableLog) as error:
            self._db.close()
            raise UnusableLog(str(error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def select(self, columns: Sequence[str], since: float = 0.0) -> Iterator[tuple[Any, ...]]:
        """These columns of all decisions since then, the oldest first; `rating`, `winner` and `rated_at` are feedback's, None
        where there is none.
        """
        rename = {"rating": "f.rating", "winner": "f.winner", "rated_at": "f.at"}
        wanted = ", ".join(rename.get(name, f"d.{name}") for name in columns)
        with closing(
            self._db.execute(
                f"SELECT {wanted} FROM decisions d LEFT JOIN feedback f USING (seq) WHERE d.at >= ? ORDER BY d.seq",  # noqa: S608 - our own names
                (since,),
            )
        ) as cursor:
            yield from cursor


class _Transaction:
    """All of it or nothing."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            try:
                self._db.execute("COMMIT")
            except sqlite3.Error:
                self._roll_back()
                raise
        else:
            self._roll_back()

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # SQLite itself ends some that fail, such as on a full disk
            self._db.execute("ROLLBACK")


def _recognise(db: sqlite3.Connection) -> None:
    (found,) = db.execute("PRAGMA application_id").fetchone()
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    if found != APPLICATION_ID:
        raise UnusableLog("it is another program's database")
    if schema != SCHEMA:
        raise UnusableLog(f"it has schema {schema}, and this version knows {SCHEMA}")


def clean(text: str, most: int = MAX_NAME_CHARS) -> str:
    """Clients may send any bytes, and JSON any surrogate."""
    return text[:most].encode("utf-8", "replace").decode()


def _row(outcome: Outcome) -> tuple[Any, ...]:
    values: list[Any] = []
    for name in Outcome.__slots__:
        value = getattr(outcome, name)
        match name:
            case "options" | "left":
                listed = [(clean(tier), what) for tier, what in value[:MAX_LISTED]]
                values.append(json.dumps(listed, separators=(",", ":")))
            case "prompt":
                values.append(None if value is None else clean(value, MAX_TEXT_CHARS))
            case _:
                values.append(clean(value) if isinstance(value, str) else value)
    return tuple(values)
