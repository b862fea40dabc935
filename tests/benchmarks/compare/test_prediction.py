"""What the simulator says of a cell: in the names of measured figures, the same at every scale but for rounding, asked once."""

from dataclasses import replace

import pytest

from benchmarks.compare import prediction
from benchmarks.compare.prediction import Question, answer, error, predicted
from benchmarks.simulator.simulation import Run
from tests.benchmarks.compare.fakes import FakeDraw

CHAT = Question(FakeDraw(0.5, 1), 1, "round_robin", 2, "llama-3.1-8b-h100")


def test_a_prediction_has_the_names_of_measured_figures():
    found = answer(CHAT)
    assert {
        "p50_ttft_ms",
        "p90_ttft_ms",
        "p90_e2el_ms",
        "window_output_throughput",
        "hit_rate",
    } <= found.keys()
    assert 0 < found["p50_ttft_ms"] < found["p90_ttft_ms"] < found["p90_e2el_ms"]
    assert 0 <= found["hit_rate"] <= 1


def test_scale_keeps_times_but_for_longer_steps_and_hits_and_divides_tokens():
    whole, small = (
        answer(
            Question(
                FakeDraw(0.5, 1, "fresh_questions"), 1, "predicted_latency", 2, "qwen3-32b-2xh100", scale
            )
        )
        for scale in (1, 4)
    )
    step_ms = 4 * 10.5
    assert 0 < small["p90_ttft_ms"] - whole["p90_ttft_ms"] < 3 * step_ms
    assert small["p90_e2el_ms"] == pytest.approx(whole["p90_e2el_ms"], rel=0.1)
    assert small["hit_rate"] == pytest.approx(whole["hit_rate"], abs=0.03)
    assert 4 * small["window_output_throughput"] == pytest.approx(whole["window_output_throughput"], rel=0.05)


def test_the_fleet_is_scaled_as_its_replicas_are(monkeypatch):
    asked = []

    def simulate(arm, traffic, setting, seed):
        asked.append(setting)
        return Run(windows={"": (0.0, 1.0)})

    monkeypatch.setattr(prediction, "simulate", simulate)
    answer(replace(CHAT, scale=4, kv_share=0.5))
    (setting,) = asked
    assert setting.max_num_batched_tokens == 8192 // 4
    assert [profile.kv_capacity_tokens for profile in setting.profiles] == [400_000 // 8] * 2
    assert setting.profiles[0].prefill_s_per_token == 4 * 32e-6


def test_a_smaller_cache_hits_less():
    small = Question(FakeDraw(0.5, 1), 1, "round_robin", 2, "llama-3.1-8b-h100", kv_share=0.1)
    assert answer(small)["hit_rate"] < answer(CHAT)["hit_rate"]


def test_a_question_is_asked_once_and_never_if_it_is_known(monkeypatch):
    done = []
    other = Question(FakeDraw(0.5, 2), 2, "round_robin", 2, "llama-3.1-8b-h100")
    found = predicted([CHAT, other, CHAT], 1, {CHAT: {"p90_ttft_ms": 7.0}}, done.append)
    assert done == [other]
    assert found[CHAT] == {"p90_ttft_ms": 7.0}
    assert found[other]["p90_ttft_ms"] > 0
    monkeypatch.setattr(prediction, "ProcessPoolExecutor", None)
    assert predicted([CHAT, other], 1, found) == found


def test_a_policy_that_the_simulator_lacks_is_named():
    with pytest.raises(ValueError, match=r"arm: expected one of .* got 'envoy'"):
        answer(Question(FakeDraw(0.5, 1), 1, "envoy", 2, "llama-3.1-8b-h100"))


def test_the_error_is_measured_over_predicted():
    assert error(300.0, 200.0) == 1.5
    assert error(None, 1.0) is error(1.0, None) is error(1.0, 0.0) is None
