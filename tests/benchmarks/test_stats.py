import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stats import median, percentile

SAMPLES = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=200)


@given(SAMPLES, st.floats(0.001, 100))
def test_a_percentile_was_measured_and_has_its_share_at_or_below(values, q):
    found = percentile(values, q)

    assert found in values
    assert sum(value <= found for value in values) >= len(values) * q / 100 - 1e-9
    assert sum(value < found for value in values) < len(values) * q / 100 + 1e-9


def test_percentiles_of_a_hundred():
    values = list(range(100, 0, -1))

    assert [percentile(values, q) for q in (1, 50, 99, 100)] == [1, 50, 99, 100]


def test_nothing_measured_is_none():
    assert percentile([], 50) is None
    assert median([]) is None


def test_a_percentile_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"q: expected"):
        percentile([1.0], 0)


def test_median_of_odd_and_even():
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5
