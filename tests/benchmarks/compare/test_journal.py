"""What was written is there after any break, and only the same comparison goes on with it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.compare.journal import Journal

MACHINE = {
    "cpu": "x",
    "cores": 2,
    "kernel": "6",
    "python": "3",
    "balancer": "1",
    "commit": "abc",
    "taken_at": "now",
}
HEAD = {"digest": "d1", "fingerprint": MACHINE, "knees": {"chat": 4.0}}


def row(arm, trouble=None, value=1.0):
    return {
        "workload": "chat",
        "load": 0.5,
        "repeat": 0,
        "arm": arm,
        "trouble": trouble,
        "valid": trouble is None,
        "p90_ttft_ms": value,
    }


def test_it_goes_on_where_it_was_broken_off(tmp_path):
    path = tmp_path / "deep" / "journal"
    begun = Journal.begun(path, HEAD)
    begun.write(row("a"))
    begun.write(row("b", trouble="it ended"))
    begun.write({**row("c"), "valid": False})
    resumed = Journal.resumed(path, "d1", MACHINE | {"taken_at": "later"})
    assert resumed.rows == begun.rows
    assert resumed.head["knees"] == {"chat": 4.0}
    assert resumed.done == {("chat", 0.5, 0, "a")}
    resumed.write(row("b", value=2.0))
    again = Journal.resumed(path, "d1", MACHINE)
    assert again.rows == resumed.rows == [row("a"), row("b", value=2.0), {**row("c"), "valid": False}]


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1))
def test_a_line_that_was_cut_off_is_measured_again_and_no_other(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "journal"
    journal = Journal.begun(path, HEAD)
    head_bytes = path.stat().st_size
    ends = []
    for arm in "abc":
        journal.write(row(arm))
        ends.append(path.stat().st_size)
    kept = head_bytes + round(share * (ends[-1] - head_bytes))
    path.write_bytes(path.read_bytes()[:kept])
    resumed = Journal.resumed(path, "d1", MACHINE)
    assert len(resumed.rows) == sum(end <= kept for end in ends)
    resumed.write(row("z"))
    assert Journal.resumed(path, "d1", MACHINE).rows == resumed.rows


def test_another_plan_or_machine_is_refused(tmp_path):
    path = tmp_path / "journal"
    Journal.begun(path, HEAD)
    with pytest.raises(ValueError, match=r"--resume: .* another plan \(d1\) than these options \(d2\)"):
        Journal.resumed(path, "d2", MACHINE)
    with pytest.raises(ValueError, match="measured with commit abc, this is def"):
        Journal.resumed(path, "d1", MACHINE | {"commit": "def"})


def test_a_comparison_that_was_broken_off_is_not_overwritten(tmp_path):
    path = tmp_path / "journal"
    Journal.begun(path, HEAD)
    with pytest.raises(ValueError, match=r"--out: .*--resume"):
        Journal.begun(path, HEAD)


@given(st.binary(max_size=200))
def test_anything_else_is_no_journal(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "journal"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="--resume: expected the journal of a comparison"):
        Journal.resumed(path, "d1", MACHINE)


@pytest.mark.parametrize("text", ["", "{}\n", '{"benchmark": "run", "digest": "d1", "fingerprint": {}}\n', "[]\n",
                                  '{"benchmark": "compare", "digest": "d1", "fingerprint": {}}\n{"arm": "a"}\n',
                                  '{"benchmark": "compare", "digest": "d1", "fingerprint": {}}\n[1]\n'])  # fmt: skip
def test_lines_of_something_else_are_no_journal(tmp_path, text):
    path = tmp_path / "journal"
    path.write_text(text)
    with pytest.raises(ValueError, match="--resume: expected the journal of a comparison"):
        Journal.resumed(path, "d1", MACHINE)
