"""The metrics page beside one of a live vLLM 0.32."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from balancer.embedded.metrics import Histogram
from tests.embedded.replica_client import SLOW, with_replica

CAPTURED = Path(__file__).parents[1] / "data" / "vllm" / "0.32.0" / "metrics.txt"
BODY = {"prompt": "a prompt of a few words " * 8, "max_tokens": 20, "ignore_eos": True}


def families(text):
    return {family.name: family for family in text_string_to_metric_families(text)}


def label_names(family):
    return {(sample.name, tuple(sorted(sample.labels))) for sample in family.samples}


def edges(family):
    return {sample.labels["le"] for sample in family.samples if "le" in sample.labels}


def page(**options):
    pages = []

    async def check(client):
        for _ in range(2):
            await client.post("/v1/completions", BODY)
        pages.append(await client.metrics())

    with_replica(check, **{"model": "tiny", **options})
    return families(pages[0])


def test_names_types_labels_and_buckets_are_those_of_vllm():
    ours, theirs = page(max_model_len=4096), families(CAPTURED.read_text())
    assert len(ours) > 25
    for name, family in ours.items():
        assert name in theirs
        assert family.type == theirs[name].type, name
        if name == "vllm:cache_config_info":
            assert set(family.samples[0].labels) <= set(theirs[name].samples[0].labels)
            continue
        assert label_names(family) == label_names(theirs[name]), name
        if not name.startswith("vllm:request_") or not name.endswith("_tokens"):
            assert edges(family) == edges(theirs[name]), name
        for label in ("reason", "finished_reason", "sleep_state", "engine"):
            values, expected = (
                {sample.labels.get(label) for sample in side[name].samples} for side in (ours, theirs)
            )
            assert values == expected, (name, label)


def test_the_types_and_labels_are_spelled_as_on_the_captured_page():
    theirs = CAPTURED.read_text().splitlines()
    types = {line for line in theirs if line.startswith("# TYPE ")}

    async def check(client):
        text = await client.metrics()
        assert {line for line in text.splitlines() if line.startswith("# TYPE ")} <= types
        assert 'vllm:num_requests_running{engine="0",model_name="m"} 0.0' in text.splitlines()

    with_replica(check)


def test_token_buckets_are_a_1_2_5_series_up_to_the_context_length():
    wanted = [*(str(float(edge)) for edge in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)), "+Inf"]
    assert edges(page(max_model_len=4096)["vllm:request_prompt_tokens"]) == set(wanted)


def test_the_numbers_are_those_of_the_traffic():
    ours = page(block_size=16, kv_capacity_tokens=8000)

    def value(family, suffix="", **labels):
        (sample,) = (
            sample
            for sample in ours[family].samples
            if sample.name == family + suffix and labels.items() <= sample.labels.items()
        )
        return sample.value

    prompt = value("vllm:request_prompt_tokens", "_sum") / 2
    assert value("vllm:prompt_tokens", "_total") == 2 * prompt
    assert value("vllm:prefix_cache_queries", "_total") == 2 * prompt
    assert value("vllm:prefix_cache_hits", "_total") == (prompt - 1) // 16 * 16
    assert value("vllm:generation_tokens", "_total") == 40
    assert value("vllm:request_success", "_total", finished_reason="length") == 2
    assert value("vllm:inter_token_latency_seconds", "_count") == 38
    for name in ("time_to_first_token", "e2e_request_latency", "request_queue_time", "request_decode_time"):
        assert value(f"vllm:{name}_seconds", "_count") == 2
        assert value(f"vllm:{name}_seconds", "_bucket", le="+Inf") == 2
    assert 0.01 < value("vllm:e2e_request_latency_seconds", "_sum") < 10
    config = ours["vllm:cache_config_info"].samples[0].labels
    assert config["block_size"] == "16"
    assert config["num_gpu_blocks"] == "500"
    assert config["kv_cache_size_tokens"] == "8000"


def test_gauges_show_running_and_waiting_requests():
    async def check(client):
        loop = asyncio.get_running_loop()
        asking = [
            loop.create_task(client.post("/v1/completions", BODY | {"max_tokens": 500})) for _ in range(3)
        ]
        await client.until("vllm:num_requests_waiting{", 2)
        assert await client.metric("vllm:num_requests_running{") == 1
        assert (
            await client.metric('vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="cap')
            == 2
        )
        assert 0 < await client.metric("vllm:kv_cache_usage_perc{") < 1
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
        await client.until("vllm:num_requests_waiting{", 0)

    with_replica(check, **SLOW, max_num_seqs=1)


def test_a_histogram_counts_an_edge_into_its_bucket():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 3.0):
        histogram.observe(value)
    histogram.observe(2.0, 3)
    assert histogram.counts == [2, 4, 1]
    assert histogram.sum == pytest.approx(12.0)


def test_odd_model_names_are_escaped():
    name = 'a "model"\\with\nall'
    assert page(model=name)["vllm:num_requests_running"].samples[0].labels["model_name"] == name
