import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.crosscheck.figures import difference, row, tables
from benchmarks.crosscheck.generator import LATENCIES, PERCENTILES, Report

MS = st.floats(0, 1e4)


def report(ms: float, without: str = "") -> Report:
    names = [name for name in LATENCIES if name != without]
    return Report(2, {name: dict.fromkeys(PERCENTILES, ms) for name in names}, (5.0, 6.25))


def test_a_difference_is_the_mean_over_rounds_and_students_interval():
    found = difference((11, 12, 16), (10, 10, 10))
    assert found.mean_ms == 3
    assert found.noise_ms == pytest.approx(4.303 * 7**0.5 / 3**0.5)
    assert not found.beyond_noise
    assert difference((13, 13, 13.1), (10, 10, 10)).beyond_noise


@given(st.lists(st.tuples(MS, MS), min_size=3, max_size=10))
def test_differences_are_antisymmetric_and_what_both_suffered_cancels(pairs):
    theirs, ours = zip(*pairs, strict=True)
    one, other = difference(theirs, ours), difference(ours, theirs)
    assert one.mean_ms == pytest.approx(-other.mean_ms, abs=1e-9)
    assert one.noise_ms == pytest.approx(other.noise_ms, abs=1e-9)
    assert difference(ours, ours).mean_ms == 0


@pytest.mark.parametrize("count", [2, 11])
def test_too_few_and_too_many_rounds_are_told(count):
    with pytest.raises(ValueError, match="rounds: expected 3 to 10"):
        difference([1.0] * count, [1.0] * count)


def test_a_row_says_how_late_requests_left():
    assert row(report(1), (0.0, 1.0))["late_p99_ms"] == pytest.approx(250)


def test_lateness_is_not_told_of_a_report_that_leaves_requests_out():
    found = row(report(1), (0.0, 1.0, 2.0))
    assert found["late_p99_ms"] is None
    *_, late = tables({"ours": [found] * 3}, "ours")
    assert list(late.rows) == [("ours", None, "2")]


def test_tables_show_each_generator_beside_ours():
    rounds = {
        "ours": [row(report(10), (0.0, 1.0))] * 3,
        "other": [row(report(ms, without="itl"), (0.0, 1.0)) for ms in (12, 12.1, 12)],
    }
    ttft, _, itl, _, late = tables(rounds, "ours")
    assert ttft.rows[0] == ["ours", "10.0", None, "10.0", None, "10.0", None]
    assert ttft.rows[1][:3] == ["other", "12.0", "+2.0 ± 0.1 differs"]
    assert itl.rows[1] == ["other", None, None, None, None, None, None]
    assert list(late.rows) == [("ours", "250.0", "2"), ("other", "250.0", "2")]
