"""Documents hold vLLM's field names, and only runs of one load are held against each other."""

import json
from dataclasses import replace

import pytest

from balancer.vllm_api.metrics import scan
from benchmarks.report import read_json, write_json
from benchmarks.reporting.counters import engine_hit_rate, engines, prediction
from benchmarks.reporting.documents import plan, refuse_to_compare
from benchmarks.reporting.tables import tables
from tests.benchmarks.reporting.records import SCRIPT, document, plausible

VLLM_FIELDS = {
    "date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "num_prompts", "request_rate", "burstiness",
    "max_concurrency", "duration", "completed", "failed", "total_input_tokens", "total_output_tokens",
    "request_throughput", "request_goodput", "output_throughput", "total_token_throughput", "max_output_tokens_per_s",
    "max_concurrent_requests",
} | {
    f"{statistic}_{latency}_ms"
    for statistic in ("mean", "median", "std", "p50", "p90", "p95", "p99")
    for latency in ("ttft", "tpot", "itl", "e2el")
}  # fmt: skip

PAGE = b"""vllm:prefix_cache_queries_total{engine="0"} %d
vllm:prefix_cache_hits_total{engine="0"} %d
vllm:num_preemptions_total{engine="0"} 1
process_start_time_seconds %d
"""
OWN = """balancer_tokens_total{{kind="prompt",model_name="m"}} {0}
balancer_tokens_total{{kind="matched",model_name="m"}} {1}
balancer_predicted_hit_tokens_total{{replica="a"}} {1}
balancer_predicted_hit_tokens_total{{replica="b"}} {1}
balancer_actual_hit_tokens_total{{replica="a"}} {2}
"""


def test_a_run_has_the_field_names_of_vllm_bench_serve_and_is_plain_json(tmp_path):
    made = document()
    write_json(tmp_path / "run.json", made)

    assert made.keys() >= VLLM_FIELDS
    assert read_json(tmp_path / "run.json", "run") == json.loads(json.dumps(made))


def test_a_lagging_generator_and_an_interruption_make_a_run_invalid():
    assert document()["valid"]
    assert document(invalid="the generator was late")["invalid"] == "the generator was late"
    assert not document(invalid="the generator was late")["valid"]
    assert document(interrupted=True)["invalid"] == "interrupted"
    assert not document(interrupted=True)["valid"]


def test_stages_have_their_own_figures_beside_the_whole():
    made = document(stages={"low": (5.0, 15.0), "high": (15.0, 35.0)})

    assert sum(stage["num_prompts"] for stage in made["stages"].values()) == made["num_prompts"]
    assert any(table.title.startswith("By stage") for table in tables(made))
    assert document()["stages"] == {}


def test_groups_and_tables_are_of_the_measured_requests():
    made = document()

    assert sum(group["num_prompts"] for group in made["by_replica"].values()) == made["num_prompts"]
    assert {"batch", "interactive"} == made["by_label"].keys()
    assert all(len(row) == len(table.columns) for table in tables(made) for row in table.rows)


def test_runs_of_different_scripts_or_service_levels_are_not_compared():
    refuse_to_compare(document(), document(plausible(seed=2)))
    with pytest.raises(ValueError, match="they differ in: goodput"):
        refuse_to_compare(document(), document(level="ttft:400"))
    other = document()
    other["plan"] = plan(replace(SCRIPT, end_s=36.0), None)

    with pytest.raises(ValueError, match=f"digest {SCRIPT.digest()} and .*goodput"):
        refuse_to_compare(document(), other)


def test_engines_count_what_grew_between_two_readings():
    before = {name: scan(PAGE % (100, 10, 1), 0.0) for name in "abc"}
    read_later = {"a": (300, 110, 1), "b": (1100, 210, 1), "c": (5, 5, 2)}
    after = {name: scan(PAGE % counted, 1.0) for name, counted in read_later.items()}

    found = engines(before, after)

    assert found["a"] == {
        "prefix_queries_tokens": 200, "prefix_hits_tokens": 100, "hit_rate": 0.5, "preemptions": 0,
    }  # fmt: skip
    assert "c" not in found  # it restarted
    assert engine_hit_rate(found) == pytest.approx(300 / 1200)
    assert engine_hit_rate({"a": dict.fromkeys(found["a"])}) is None


def test_the_balancers_prediction_is_what_grew():
    found = prediction(OWN.format(100, 50, 40), OWN.format(300, 200, 90))

    assert found == {"predicted_hit_rate": 0.75, "predicted_hit_tokens": 300, "actual_hit_tokens": 50}
    assert prediction("", "up 1\n") is None
