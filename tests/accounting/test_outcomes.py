"""The writer: nobody waits for it, nothing fails for it, what it loses it counts, and a killed process keeps what was written."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from balancer.accounting.outcome_store import Reading, Store
from balancer.accounting.outcomes import Keeps, OutcomeLog, kept_outcomes, open_outcomes
from balancer.config import ConfigError, Settings
from balancer.core.errors import Refused
from balancer.core.tiering.feedback import Feedback
from balancer.core.tiering.types import QualityFloor, Threshold
from balancer.core.types import Usage
from tests.accounting.outcomes import KEEPS, SECRET_WORDS, tiered_record
from tests.fakes.loops import async_test, until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outcomes.db"


@contextlib.asynccontextmanager
async def logging_to(path, keeps=KEEPS, **more):
    log = OutcomeLog(path, keeps, **more)
    try:
        yield log
    finally:
        await log.close()


def read(path, *columns):
    with Reading(path) as reading:
        return list(reading.select(columns))


@async_test
async def test_a_record_becomes_a_row(path):
    async with logging_to(path) as log:
        log.add(tiered_record("a", left=(("small", "saturated"),), arm="try/b", explored=True))
        log.add(tiered_record("b", target=QualityFloor(0.95), score=None, token_at=None, usage=None))
        log.add(tiered_record("c", target=Threshold(0.7)))
        log.add(tiered_record("e", target=None))
        await until(lambda: log.written == 4)
    assert read(path, "id", "target", "ttft_s", "prompt_tokens", "score", "explored") == [
        ("a", "share 0.3", 0.5, 100, 0.25, 1),
        ("b", "floor 0.95", None, None, None, 0),
        ("c", "threshold 0.7", 0.5, 100, 0.25, 0),
        ("e", "", 0.5, 100, 0.25, 0),
    ]
    assert read(path, "duration_s", "left_tiers", "arm")[0] == (2.0, '[["small","saturated"]]', "try/b")


@async_test
async def test_feedback_finds_the_row_written_just_before(path):
    async with logging_to(path) as log:
        log.add(tiered_record("a"))
        told = await log.rate(Feedback("a", rating=0.0), "acme")
        assert told is not None
        assert not told.replaced
        assert log.moods.of("acme", b"c" * 16) == 0.0
        assert (await log.rate(Feedback("a", winner="weak"), "acme")).replaced
        assert log.moods.of("acme", b"c" * 16) == 1.0
        await log.rate(Feedback("a", winner="strong"), "acme")
        assert log.moods.of("acme", b"c" * 16) == 0.0
        assert await log.rate(Feedback("a", rating=1.0), "other") is None
        assert await log.rate(Feedback("z", rating=1.0), "acme") is None
    assert dict(log.feedback) == {
        ("rating", "kept"): 1, ("winner", "replaced"): 2, ("rating", "unknown"): 2,
    }  # fmt: skip
    assert read(path, "rating", "winner") == [(None, "strong")]


@async_test
async def test_no_word_of_prompts_or_comments_is_written_unless_it_may_be(path):
    async with logging_to(path) as log:
        for number in range(50):
            log.add(tiered_record(f"d{number}"))
        await log.rate(Feedback("d1", rating=1.0, comment=SECRET_WORDS), "acme")
        for each in path.parent.iterdir():  # the journal too
            assert SECRET_WORDS.encode() not in each.read_bytes()
        log.keeps = Keeps(1000, 90, prompts=True)
        log.add(tiered_record("allowed"))
        await log.rate(Feedback("allowed", rating=1.0, comment="a comment"), "acme")
    assert read(path, "prompt")[-1] == (SECRET_WORDS,)
    assert b"a comment" in path.read_bytes()


@async_test
async def test_conversations_are_told_apart_and_lead_back_to_nothing(path):
    async with logging_to(path) as log:
        for name, talk in (("a", b"1" * 16), ("b", b"1" * 16), ("c", b"2" * 16), ("d", b"")):
            log.add(tiered_record(name, conversation=talk))
        await until(lambda: log.written == 4)
    (a,), (b,), (c,), (d,) = read(path, "conversation")
    assert a == b != c
    assert d == b""
    async with logging_to(path) as log:
        log.add(tiered_record("e", conversation=b"1" * 16))
        await until(lambda: log.written == 1)
    assert read(path, "conversation")[-1][0] != a  # the secret died with the process


@async_test
async def test_the_file_is_bounded(path):
    async with logging_to(path, Keeps(100, 90, prompts=False)) as log:
        for number in range(700):
            log.add(tiered_record(f"d{number}"))
        await until(lambda: log.written == 700)
        await until(lambda: log.rows == 100)
    assert len(read(path, "id")) == 100


@async_test
async def test_a_file_that_another_holds_costs_rows_and_no_time(path):
    async with logging_to(path, queue_rows=10) as log:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        log.add(tiered_record("first"))
        await until(log._queue.empty)  # the thread has it, and waits
        for number in range(300):
            log.add(tiered_record(f"d{number}"))
        assert log.dropped >= 300 - 10 - 255
        dropped = log.dropped
        with pytest.raises(Refused) as refused:
            await log.rate(Feedback("first", rating=1.0), "acme")
        assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
        holder.execute("ROLLBACK")
        holder.close()
        await until(lambda: log.written == 301 - dropped)
        assert await log.rate(Feedback("first", rating=1.0), "acme") is not None


@async_test
async def test_a_full_disk_costs_rows_and_is_over_when_it_is_over(path, caplog):
    async with logging_to(path) as log:
        log.add(tiered_record("before"))
        await until(lambda: log.written == 1)
        log._store._db.execute("PRAGMA max_page_count=1")  # as many as there are
        for number in range(200):
            log.add(tiered_record(f"d{number}"))
        await until(lambda: log.failed > 0 and log.failed + log.written == 201)
        log._store._db.execute("PRAGMA max_page_count=100000")
        log.add(tiered_record("after"))
        assert await log.rate(Feedback("after", rating=1.0), "acme") is not None
    assert [record.message for record in caplog.records if "disk is full" in record.message]


@async_test
async def test_one_bad_row_costs_no_other(path, caplog):
    async with logging_to(path) as log:
        for name, tokens in (("a", 1), ("b", 2**70), ("c", 3)):
            log.add(tiered_record(name, usage=Usage(tokens, 1)))
        await until(lambda: log.written == 2)
        assert log.failed == 1
    assert read(path, "id") == [("a",), ("c",)]


@async_test
async def test_closing_writes_what_is_queued(path):
    async with logging_to(path) as log:
        for number in range(500):
            log.add(tiered_record(f"d{number}"))
    assert not path.with_name("outcomes.db-wal").exists()
    assert len(read(path, "id")) == 500


@async_test
async def test_nobody_waits_for_ever_for_an_answer_that_is_cancelled(path):
    async with logging_to(path) as log:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        waiting = asyncio.ensure_future(log.rate(Feedback("a", rating=1.0), "acme"))
        await until(log._queue.empty)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        holder.execute("ROLLBACK")
        holder.close()
        log.add(tiered_record("a"))
        assert await log.rate(Feedback("a", rating=1.0), "acme") is not None


KILLED = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from balancer.accounting.outcomes import OutcomeLog
from tests.accounting.outcomes import KEEPS, tiered_record
log = OutcomeLog(Path(sys.argv[1]), KEEPS.__class__(10**6, 90, prompts=True))
number = 0
while True:
    log.add(tiered_record(f"d{{number}}"))
    number += 1
    if number % 200 == 0:
        print(log.written, flush=True)
        while log._queue.qsize() > 3000:
            pass
"""


def test_a_killed_process_loses_only_what_was_not_written(path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(root=str(ROOT)), str(path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        told = 0
        while told < 2000:
            line = process.stdout.readline()
            assert line
            told = int(line)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert path.with_name("outcomes.db-wal").exists()  # nobody had tidied up
    found = [row[0] for row in read(path, "id")]
    assert len(found) >= told
    assert found == [f"d{number}" for number in range(len(found))]  # in order, none missing, none in half
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    store = Store(path)
    assert store.rows() == len(found)
    store.close()


def test_no_file_no_log():
    assert open_outcomes(Settings(replicas=["http://a"])) is None


def test_a_file_that_cannot_be_used_is_a_mistake_of_the_configuration(tmp_path):
    (tmp_path / "text").write_text("hello " * 1000)
    for name, why in (("text", "not a database"), ("", "directory")):
        with pytest.raises(ConfigError, match=f"(?s)outcome_log.*{why}"):
            open_outcomes(Settings(replicas=["http://a"], outcome_log=tmp_path / name))


def test_what_is_kept_is_as_set():
    settings = Settings(
        replicas=["http://a"], outcome_log_max_rows=5, outcome_log_max_days=2, outcome_log_prompts=True
    )
    assert kept_outcomes(settings) == Keeps(5, 2, prompts=True)
