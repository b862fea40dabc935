import pytest

from benchmarks.load.lateness import lagged


@pytest.mark.parametrize(
    ("late_s", "ttft_s"),
    [
        ([], []),
        ([0.010] * 100, []),
        ([0.009] * 100, [0.001]),
        ([0.0] * 99 + [3.0], [0.1]),
        ([0.04] * 100, [1.0]),
    ],
)
def test_runs_to_believe(late_s, ttft_s):
    assert lagged(late_s, ttft_s) is None


@pytest.mark.parametrize(("late_s", "ttft_s"), [([0.011] * 100, [0.2]), ([0.0] * 98 + [0.06] * 2, [1.0])])
def test_runs_of_a_late_generator(late_s, ttft_s):
    assert "the load generator was late: P99" in lagged(late_s, ttft_s)


def test_the_reason_has_both_numbers():
    assert lagged([0.08], [1.0]) == "the load generator was late: P99 80.0 ms, allowed 50.0 ms"
