"""Figures of a window, against vLLM's definitions by numpy and against arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.record import Outcome
from benchmarks.reporting.figures import LATENCIES, PERCENTILES, by_group, figures
from benchmarks.reporting.service import ServiceLevel
from tests.benchmarks.reporting.records import answered, plausible, record_lists, unanswered

WINDOW = (5.0, 35.0)


def test_latencies_are_as_vllm_defines_them():
    records = plausible()
    kept = [r for r in records if 5 <= r.due_s < 35 and r.outcome is Outcome.ANSWERED]
    samples = {
        "ttft": [r.token_s[0] - r.due_s for r in kept],
        "e2el": [r.ended_s - r.due_s for r in kept],
        "tpot": [(r.ended_s - r.token_s[0]) / (r.output_tokens - 1) for r in kept],
        "itl": [gap for r in kept for gap in np.diff(r.token_s)],
    }

    found = figures(records, [WINDOW])

    for name, seconds in samples.items():
        assert found[f"mean_{name}_ms"] == pytest.approx(1000 * np.mean(seconds))
        assert found[f"std_{name}_ms"] == pytest.approx(1000 * np.std(seconds))
        assert found[f"median_{name}_ms"] == pytest.approx(1000 * np.median(seconds))
        for q in PERCENTILES:
            assert found[f"p{q}_{name}_ms"] == pytest.approx(1000 * np.percentile(seconds, q))


def test_rates_are_over_the_time_from_the_windows_start_to_the_last_answer():
    records = [answered(6.0, 1.0, (1.0,)), answered(34.0, 2.0, (9.0,)), answered(36.0)]

    found = figures(records, [WINDOW])

    assert found["duration"] == 40.0
    assert found["request_throughput"] == 2 / 40
    assert found["output_throughput"] == 4 / 40
    assert found["total_token_throughput"] == 204 / 40
    assert found["window_request_throughput"] == 1 / 30
    assert found["window_output_throughput"] == 2 / 30


def test_a_request_belongs_to_the_window_in_which_it_was_due():
    found = figures([answered(due_s, 50.0) for due_s in (4.9, 5.0, 34.9, 35.0)], [WINDOW])

    assert found["num_prompts"] == 2


def test_what_was_not_answered_is_counted_as_what_it_is_and_is_in_no_latency():
    records = [answered(6.0, 0.1)]
    records += [unanswered(7.0, outcome) for outcome in Outcome if outcome is not Outcome.ANSWERED]

    found = figures(records, [WINDOW], ServiceLevel(ttft_ms=1000))

    assert found["outcomes"] == dict.fromkeys(map(str, Outcome), 1)
    assert (found["completed"], found["failed"]) == (1, 4)
    assert found["errors"]["shed: status 503"] == 1
    assert found["p99_ttft_ms"] == pytest.approx(100)
    assert found["goodput_share"] == pytest.approx(1 / 7)


def test_several_windows_are_taken_together():
    records = [answered(1.0), answered(12.0), answered(25.0)]

    found = figures(records, [(0.0, 10.0), (20.0, 30.0)])

    assert found["num_prompts"] == 2
    assert found["duration"] == pytest.approx(1.14 + 5.14)


def test_nothing_measured_is_no_zero():
    found = figures([], [WINDOW])

    assert found["p90_ttft_ms"] is found["hit_rate"] is found["request_goodput"] is None
    assert found["request_throughput"] == 0
    assert found["ttft_curve_ms"] is None


def test_the_hit_rate_is_of_answers_that_tell_it():
    records = [
        answered(6.0, prompt_tokens=300, cached_tokens=100),
        answered(7.0, prompt_tokens=100, cached_tokens=100),
        answered(8.0, prompt_tokens=900, cached_tokens=None),
    ]

    assert figures(records, [WINDOW])["hit_rate"] == 0.5


def test_the_most_at_once_and_the_fullest_second_are_exact():
    records = [answered(6.0, 1.0, ()), answered(6.5, 0.5, (0.1,)), answered(7.1, 0.1, ())]

    found = figures(records, [WINDOW])

    assert found["max_concurrent_requests"] == 2
    assert found["max_output_tokens_per_s"] == 4


def test_groups_are_the_requests_of_each():
    records = [answered(6.0, 0.1, replica="b"), answered(7.0, 0.3, replica="a"), answered(8.0)]

    groups = by_group(records, lambda record: record.replica)

    assert list(groups) == ["a", "b"]
    assert groups["a"]["p90_ttft_ms"] == pytest.approx(300)


@given(record_lists())
def test_counts_add_up_and_percentiles_rise(records):
    level = ServiceLevel(ttft_ms=500, tpot_ms=100, e2el_ms=5000)

    found = figures(records, [WINDOW], level)

    outcomes = found["outcomes"]
    assert found["num_prompts"] == sum(outcomes.values())
    assert (
        found["num_prompts"]
        == found["completed"] + found["failed"] + outcomes["left"] + outcomes["unfinished"]
    )
    assert found["request_goodput"] <= found["request_throughput"]
    assert found["goodput_share"] is None or 0 <= found["goodput_share"] <= 1
    for name in LATENCIES:
        values = [found[f"p{q}_{name}_ms"] for q in PERCENTILES]
        assert None in values or values == sorted(values)
    assert found["ttft_curve_ms"] is None or found["ttft_curve_ms"] == sorted(found["ttft_curve_ms"])


@given(record_lists())
def test_a_stricter_level_is_met_by_no_more(records):
    levels = [ServiceLevel(ttft_ms=limit, e2el_ms=4 * limit) for limit in (50, 500, 5000)]

    shares = [figures(records, [WINDOW], level)["request_goodput"] for level in levels]

    assert shares == sorted(shares)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_service_level_is_read_as_vllm_bench_reads_it(ttft, e2el):
    assert ServiceLevel.parse([f"ttft:{ttft!r}", f"e2el:{e2el!r}"]) == ServiceLevel(ttft, None, e2el)
    assert ServiceLevel.parse("") is None


@pytest.mark.parametrize("text", ["ttft", "ttft:", "ttft:x", "ttft:-1", "ttft:nan", "itl:5", "ttft:1 ttft:2"])
def test_a_wrong_service_level_is_named(text):
    with pytest.raises(ValueError, match=r"--goodput: expected .* got 'ttft|--goodput: expected .* got 'itl"):
        ServiceLevel.parse(text)


def test_each_limit_of_a_service_level_counts():
    record = answered(6.0, 0.5, (0.1, 0.1))

    assert ServiceLevel(500.01, 100.01, 700.01).met_by(record)
    assert not ServiceLevel(ttft_ms=499).met_by(record)
    assert not ServiceLevel(tpot_ms=99).met_by(record)
    assert not ServiceLevel(e2el_ms=699).met_by(record)
    assert ServiceLevel(tpot_ms=0).met_by(answered(6.0, gaps_s=()))
    assert not ServiceLevel(tpot_ms=1000).met_by(answered(6.0, outcome=Outcome.FAILED))
