import pytest

from benchmarks.fingerprint import fingerprint, one_line
from benchmarks.goals import Goal, judge
from benchmarks.report import Table, between_markers, goals_table, number, read_json, write_json, write_text

TEXT = "# Title\n<!-- overhead:begin -->\nold\n<!-- overhead:end -->\nrest\n"


def test_only_what_stands_between_the_markers_is_replaced():
    once = between_markers(TEXT, "overhead", "new")

    assert once == "# Title\n<!-- overhead:begin -->\nnew\n<!-- overhead:end -->\nrest\n"
    assert between_markers(once, "overhead", "new") == once


@pytest.mark.parametrize(
    "text", ["", "<!-- overhead:end --><!-- overhead:begin -->", "<!-- overhead:begin -->"]
)
def test_missing_markers_are_named(text):
    with pytest.raises(ValueError, match=r"<!-- overhead:begin -->"):
        between_markers(text, "overhead", "new")


def test_a_figure_that_nobody_measured_is_a_dash():
    table = Table("T", ("arm", "small"), [("nginx", number(None)), ("ours", number(1234.5))])

    assert table.markdown().splitlines()[2:] == [
        "| arm | small |",
        "|---|---:|",
        "| nginx | - |",
        "| ours | 1,234 |",
    ]


def test_goals_stand_beside_what_was_measured():
    goal = Goal("memory of each", "kib", 64, unit="KiB")

    (row,) = goals_table(judge([goal], {"kib": 21.25})).rows

    assert row == ("memory of each", "21.25 KiB", "<= 64 KiB", "met")


def test_a_result_is_read_back(tmp_path):
    path = tmp_path / "new" / "result.json"
    write_json(path, {"benchmark": "overhead", "figures": {"a": 1.5}})

    assert read_json(path, "overhead")["figures"] == {"a": 1.5}


@pytest.mark.parametrize("text", ["", "[]", '{"benchmark": "simulate"}'])
def test_what_is_no_result_is_refused_by_its_path(tmp_path, text):
    path = tmp_path / "result.json"
    path.write_text(text)

    with pytest.raises(ValueError, match=r"result\.json: expected a result of `overhead`"):
        read_json(path, "overhead")


def test_a_fingerprint_tells_machine_and_versions():
    facts = fingerprint()

    assert facts["cores"] >= 1
    assert facts["balancer"]
    assert f"uvloop {facts['uvloop']}" in one_line(facts)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"benchmark": "overhead"})

    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")

    assert read_json(path, "overhead") == {"benchmark": "overhead"}
    assert list(tmp_path.iterdir()) == [path]
