"""Files of a journal: what is written is read, whatever becomes of a file or a disk, and nothing waits for either."""

import os
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.journal import writer
from balancer.journal.command import Unreadable, run
from balancer.journal.frames import MAGIC, MOST_BYTES, Read, pack, read_file
from balancer.journal.kinds import BEGIN
from balancer.journal.opening import policy_of
from balancer.journal.reader import Reading, files_of, read_journal
from balancer.journal.replayer import JournalError, Replayer
from balancer.journal.writer import JournalFile
from tests.core.states import request
from tests.journal.tapes import recorder, replayed

EVENTS = [[[BEGIN, {"run": "r", "file": 0, "lost": 0}], [1, 2, "three"]], [[4, None, b"five"]], [[6, 0.1]]]


def written(path, blocks=EVENTS):
    path.write_bytes(MAGIC + b"".join(map(pack, blocks)))
    return path


def read(path):
    found = Read()
    return [event for events in read_file(path, found) for event in events], found


def test_what_was_written_is_read(tmp_path):
    events, found = read(written(tmp_path / "j"))
    assert events == [event for block in EVENTS for event in block]
    assert (found.whole, found.trouble) == (found.size, "")


@given(st.integers(0, 10_000))
def test_a_torn_tail_is_left_out_and_said(tmp_path_factory, cut):
    path = written(tmp_path_factory.mktemp("torn") / "j")
    whole = path.read_bytes()
    cut %= len(whole)
    path.write_bytes(whole[:cut])
    events, found = read(path)
    frames = [len(MAGIC), *(len(MAGIC) + sum(len(pack(b)) for b in EVENTS[: n + 1]) for n in range(3))]
    kept = sum(cut >= end for end in frames) - 1
    assert events == [event for block in EVENTS[: max(0, kept)] for event in block]
    assert found.trouble == ("" if cut in frames else "torn")
    assert found.whole == (frames[kept] if kept >= 0 else 0)


@given(st.integers(len(MAGIC), 10_000), st.integers(1, 255))
def test_damage_ends_a_file_and_never_more(tmp_path_factory, place, flipped):
    path = written(tmp_path_factory.mktemp("damaged") / "j")
    whole = bytearray(path.read_bytes())
    whole[len(MAGIC) + place % (len(whole) - len(MAGIC))] ^= flipped
    path.write_bytes(whole)
    events, found = read(path)
    assert found.trouble in {"torn", "damaged"}
    assert events == [event for block in EVENTS for event in block][: len(events)]
    assert len(events) < 4


@pytest.mark.parametrize(
    "content", [b"", b"vllm", b"something else entirely", MAGIC + b"\xff" * 4, os.urandom(4096)]
)
def test_what_is_no_journal_is_told_without_a_traceback(tmp_path, content):
    path = tmp_path / "j"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match="expected a journal"):
        run(path, policy=None, as_json=False)


def test_a_frame_that_would_fill_the_memory_is_not_unpacked(tmp_path):
    path = written(tmp_path / "j", [[[0, b"\0" * (MOST_BYTES + 1)]]])
    assert path.stat().st_size < 100_000
    events, found = read(path)
    assert (events, found.trouble) == ([], "damaged")


@given(
    st.lists(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-5, 40)
            | st.floats()
            | st.text(max_size=3)
            | st.binary(max_size=9),
            lambda inner: (
                st.lists(inner, max_size=14) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
            ),
            max_leaves=20,
        ).filter(lambda event: isinstance(event, list)),
        max_size=6,
    )
)
def test_events_that_make_no_sense_are_told_as_such(events):
    replayer = Replayer(policy_of)
    facts = {"run": "x", "file": 0, "lost": 0, "follows": False}
    replayer.feed([BEGIN, {**facts, "policy": "random", "seed": 1, "index_max_blocks": 9}])
    for event in events:
        try:
            replayer.feed(event)
        except JournalError as error:
            assert "event" in str(error)


@given(st.integers(0, 2**32), st.integers(0, 200))
def test_a_journal_whose_events_are_mixed_up_is_told_as_such(seed, swaps):
    made, tape = recorder("cache_aware")
    a_life_of(made)
    made.flush()
    events, rng = tape.events(), random.Random(seed)
    for _ in range(swaps):
        one, other = rng.randrange(1, len(events)), rng.randrange(1, len(events))
        events[one], events[other] = events[other], events[one]
    try:
        counts = replayed(events).counts
    except JournalError:
        return
    assert counts.decisions <= 40


def a_life_of(made, requests=20, now=1.0, keys=(1, 2, 3)):
    from balancer.core.types import Usage
    from tests.core.states import replicas

    for state in replicas(2):
        if made.fleet.get(state.id) is None:
            made.join(state)
    for number in range(requests):
        view = request(*keys, 1000 * keys[-1] + number)  # chained: no key comes after two others
        decision = made.decide(view, frozenset(), now + number)
        charge = made.dispatch(view, decision, now + number)
        made.first_token(charge, now + number + 0.25)
        made.ended(charge, now + number + 0.5, Usage(256, 3, 192), output_events=2)
        made.answered(charge.replica, now + number + 0.5, sent_at=charge.sent_at)


def journal(path, max_bytes=1 << 30, keep=3):
    file = JournalFile(path, max_bytes, keep)
    made, _ = recorder("cache_aware", tape=file)
    return made, file


def played(path):
    reading, replayer = Reading(), Replayer(policy_of)
    for event in read_journal(path, reading):
        replayer.feed(event)
    return replayer.counts, reading


def test_a_file_that_is_full_is_kept_aside_and_all_are_read_in_order(tmp_path):
    path = tmp_path / "j"
    made, file = journal(path, max_bytes=600, keep=50)
    for round_ in range(20):
        a_life_of(made, 5, 1.0 + 10 * round_)
        made.flush()
        drain(file)
    file.close()
    assert len(files_of(path)) > 5
    counts, reading = played(path)
    assert (counts.decisions, counts.different, counts.partial, counts.runs) == (100, 0, 0, 1)
    assert reading.files == len(files_of(path))
    assert reading.bytes == file.written_bytes + len(MAGIC) * reading.files


def drain(file):
    """Until all that was handed over is on the disk."""
    done = threading.Event()
    while file._taken < file._given:
        done.wait(0.001)


def test_of_what_is_not_kept_the_rest_is_told_apart(tmp_path):
    path = tmp_path / "j"
    made, file = journal(path, max_bytes=600, keep=2)
    for round_ in range(20):
        a_life_of(made, 5, 1.0 + 10 * round_)
        made.flush()
        drain(file)
    file.close()
    assert len(files_of(path)) == 3
    counts, _ = played(path)
    assert 0 < counts.partial == counts.decisions < 100
    assert counts.first is None
    said, good = run(path, policy=None, as_json=False)
    assert good
    assert "can't be verified, since what was before is not there" in said


def test_another_process_begins_a_file_of_its_own(tmp_path):
    path = tmp_path / "j"
    for _ in range(2):
        made, file = journal(path)
        a_life_of(made, 5)
        made.flush()
        file.close()
    assert [each.name for each in files_of(path)] == ["j.1", "j"]
    counts, _ = played(path)
    assert (counts.runs, counts.decisions, counts.different, counts.partial) == (2, 10, 0, 0)


def test_what_cannot_be_written_in_time_is_lost_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "MOST_PENDING", 100)
    path = tmp_path / "j"
    may = threading.Event()
    made, file = journal(path)
    packed = writer.pack
    monkeypatch.setattr(writer, "pack", lambda events: may.wait() and packed(events))
    for round_ in range(4):
        a_life_of(made, 10, 1.0 + 20 * round_)
        made.flush()
    may.set()
    drain(file)
    a_life_of(made, 10, 200.0)
    made.flush()
    file.close()
    assert file.lost_events > 0
    counts, _ = played(path)
    assert counts.lost_events == file.lost_events
    assert 0 < counts.partial < counts.decisions < 50


def test_a_disk_that_is_full_costs_what_was_not_written(tmp_path, monkeypatch):
    path = tmp_path / "j"
    made, file = journal(path)
    a_life_of(made, 5)
    made.flush()
    drain(file)
    full, real = [True], os.write

    def write(descriptor, data):
        if full[0] and descriptor == file._descriptor:
            return real(descriptor, data[:7])
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    a_life_of(made, 5, 20.0)
    made.flush()
    drain(file)
    full[0] = False
    a_life_of(made, 5, 40.0)
    made.flush()  # goes on from what was lost
    a_life_of(made, 5, 60.0)
    made.flush()
    file.close()
    counts, reading = played(path)
    assert reading.notes == []
    assert file.lost_events > 0
    assert 5 < counts.decisions < 20
    assert counts.partial == counts.decisions - 5
    assert counts.different == 0


def test_who_is_killed_takes_only_the_last_moment_with_it(tmp_path):
    path = tmp_path / "j"
    made, file = journal(path)
    a_life_of(made, 10)
    made.flush()
    drain(file)
    whole = path.stat().st_size
    a_life_of(made, 10, 50.0)
    made.flush()
    drain(file)
    with path.open("r+b") as torn:
        torn.truncate(path.stat().st_size - 3)
    file.close()
    counts, reading = played(path)
    assert (counts.decisions, counts.different) == (10, 0)
    assert reading.notes == [f"{path}: torn after {whole} bytes; {path.stat().st_size - whole} are left out"]
    said, good = run(path, policy=None, as_json=False)
    assert good
    assert "note: " in said
    assert "all 10 verified" in said


def test_a_decision_that_comes_out_otherwise_is_shown(tmp_path):
    made, tape = recorder("cache_aware")
    a_life_of(made)
    made.flush()
    events = tape.events()
    decided = [event for event in events if event[0] == 13]
    decided[7][4][0] = "r9"
    (tmp_path / "j").write_bytes(MAGIC + pack(events))
    said, good = run(tmp_path / "j", policy=None, as_json=False)
    assert not good
    assert "1 of 20 decisions came out otherwise; the first:" in said
    assert "decision 8 at 8.000000 s: recorded r9" in said
