import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.accounting import histogram
from balancer.accounting.histogram import Histogram
from balancer.embedded import metrics as vllm

EDGES = (0.5, 1.0, 10.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 5)), max_size=30))
def test_buckets_are_cumulative_and_their_edges_inclusive(values):
    seen = Histogram(EDGES)
    for value, count in values:
        seen.observe(value, count)
    each = [value for value, count in values for _ in range(count)]
    assert seen.cumulative() == [*(sum(v <= e for v in each) for e in EDGES), len(each)]
    assert seen.sum == pytest.approx(sum(each))
    assert bool(seen) == bool(values)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("TTFT_EDGES", "_FIRST_TOKEN"), ("GAP_EDGES", "_TOKEN_GAP"), ("DURATION_EDGES", "_LATENCY")],
)
def test_panels_of_vllm_and_ours_line_up(ours, theirs):
    assert getattr(histogram, ours) == getattr(vllm, theirs)


@pytest.mark.parametrize("name", ["PHASE_EDGES", "TOKEN_EDGES"])
def test_edges_rise(name):
    edges = getattr(histogram, name)
    assert list(edges) == sorted(set(edges))
