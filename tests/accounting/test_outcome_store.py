"""The file of outcomes: what it keeps, that it is bounded, whose it is, and what it refuses to touch."""

import json
import sqlite3
import stat

import pytest

from balancer.accounting.outcome_store import MAX_LISTED, MAX_TEXT_CHARS, Outcome, Reading, Store, UnusableLog
from tests.accounting.outcomes import outcome

BEGINNING = -1e18


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outcomes.db"


@pytest.fixture
def store(path):
    store = Store(path)
    yield store
    store.close()


def ids(path):
    with Reading(path) as reading:
        return [row[0] for row in reading.select(["id"])]


def test_what_is_written_is_read(store, path):
    assert store.add([outcome(0), outcome(1, left=[("small", "saturated")], score=None)]) == 2
    told = store.rate("d1", "acme", 5.0, 0.25, None, None)
    assert told == ((1).to_bytes(8, "big"), False)
    columns = ["id", "score", "options", "left_tiers", "rating", "winner", "rated_at"]
    with Reading(path) as reading:
        first, second = reading.select(columns)
        assert list(reading.select(["id"], since=1_000_001.0)) == [("d1",)]
    assert first[:2] == ("d0", 0.5)
    assert first[4:] == (None, None, None)
    assert json.loads(first[2]) == [["small", 0.0001], ["large", 0.001]]
    assert json.loads(second[3]) == [["small", "saturated"]]
    assert second[4:] == (0.25, None, 5.0)


def test_it_survives_being_opened_again(store, path):
    store.add([outcome(0)])
    store.close()
    again = Store(path)
    assert again.rows() == 1
    assert again.add([outcome(1)]) == 1
    again.close()


def test_two_may_write_to_one_file(store, path):
    other = Store(path)
    assert (store.add([outcome(0)]), other.add([outcome(1)]), store.add([outcome(2)])) == (1, 1, 1)
    assert other.rate("d0", "acme", 0.0, 1.0, None, None) is not None
    other.close()
    assert ids(path) == ["d0", "d1", "d2"]


def test_the_last_word_on_a_decision_holds(store, path):
    store.add([outcome(0)])
    assert store.rate("d0", "acme", 1.0, 1.0, None, "fine").replaced is False
    assert store.rate("d0", "acme", 2.0, None, "strong", None).replaced is True
    with Reading(path) as reading:
        assert list(reading.select(["rating", "winner", "rated_at"])) == [(None, "strong", 2.0)]


@pytest.mark.parametrize(("decision", "tenant"), [("d1", "acme"), ("d0", "other"), ("d0", "")])
def test_nobody_rates_what_is_not_theirs(store, decision, tenant):
    store.add([outcome(0)])
    assert store.rate(decision, tenant, 0.0, 0.0, None, None) is None


def test_an_id_is_written_once(store):
    assert store.add([outcome(0), outcome(0, tier="large")]) == 1
    assert store.rows() == 1


def test_the_oldest_go_when_there_are_too_many_and_their_feedback_with_them(store, path):
    store.add([outcome(number) for number in range(10)])
    store.rate("d0", "acme", 0.0, 1.0, None, None)
    store.rate("d9", "acme", 0.0, 1.0, None, None)
    store.trim(4, BEGINNING)
    assert ids(path) == ["d6", "d7", "d8", "d9"]
    assert store.rows() == 4
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM feedback").fetchone() == (1,)
    db.close()


def test_the_oldest_go_when_their_time_has_come(store, path):
    store.add([outcome(number) for number in range(1200)])
    store.trim(5000, 1_001_198.0)
    assert ids(path) == ["d1198", "d1199"]


def test_the_file_does_not_grow_without_end(store, path):
    sizes, journals = [], []
    for batch in range(60):
        store.add([outcome(batch * 200 + number) for number in range(200)])
        store.trim(500, BEGINNING)
        sizes.append(path.stat().st_size)
        journals.append(path.with_name("outcomes.db-wal").stat().st_size)
    assert sizes[-1] <= 500 * 1000
    assert max(journals) <= 5 << 20


def test_what_is_deleted_is_overwritten(store, path):
    store.add([outcome(0, prompt="a telling word")])
    store.add([outcome(number) for number in range(1, 3)])
    store.trim(1, BEGINNING)
    store.close()  # which empties the journal
    assert b"telling" not in path.read_bytes()


def test_a_row_is_bounded(store, path):
    huge = "x" * 100_000
    listed = [(huge, 0.1)] * 1000
    store.add([outcome(0, model=huge, prompt=huge, options=listed, left=[(huge, "failing")])])
    with Reading(path) as reading:
        ((model, prompt, options),) = reading.select(["model", "prompt", "options"])
    assert (len(model), len(prompt), len(json.loads(options))) == (200, MAX_TEXT_CHARS, MAX_LISTED)


def test_any_text_is_text(store, path):
    store.add([outcome(0, tenant="a\udcffb", model="\ud800", prompt="\x00'); DROP TABLE decisions; --")])
    assert store.rate("d0", "a\udcffb", 0.0, 1.0, None, None) is not None
    with Reading(path) as reading:
        assert list(reading.select(["tenant", "model"])) == [("a?b", "?")]


def test_a_full_disk_leaves_the_file_whole(store, path):
    store.add([outcome(0)])
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.add([outcome(number, prompt="x" * 4000) for number in range(1, 50)])
    store._db.execute("PRAGMA max_page_count=100000")
    assert store.add([outcome(50)]) == 1
    assert ids(path) == ["d0", "d50"]


def test_only_its_owner_may_read_it(store, path):
    store.add([outcome(0)])
    for each in path.parent.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600


def test_what_is_no_outcome_log_is_left_alone(path):
    path.write_bytes(b"x" * 5000)
    for open_it in (Store, Reading):
        with pytest.raises(UnusableLog, match="not a database"):
            open_it(path)
    assert path.read_bytes() == b"x" * 5000


def test_another_database_is_left_alone(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    before = path.read_bytes()
    for open_it in (Store, Reading):
        with pytest.raises(UnusableLog, match="another program"):
            open_it(path)
    assert path.read_bytes() == before


def test_another_schema_is_told_by_number(store, path):
    store._db.execute("PRAGMA user_version=7")
    for open_it in (Store, Reading):
        with pytest.raises(UnusableLog, match="schema 7, and this version knows 1"):
            open_it(path)


def test_no_file_is_no_reading(path):
    with pytest.raises(FileNotFoundError):
        Reading(path)


def test_the_columns_are_those_of_the_row(store):
    names = [row[1] for row in store._db.execute("PRAGMA table_info(decisions)")]
    assert names[1:] == ["left_tiers" if name == "left" else name for name in Outcome.__slots__]
