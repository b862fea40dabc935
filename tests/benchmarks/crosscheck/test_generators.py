import json
import sys

import pytest

from benchmarks.crosscheck import aiperf, guidellm, vllm_bench
from benchmarks.crosscheck.generator import LATENCIES, PERCENTILES, flat_percentiles
from benchmarks.crosscheck.load import drawn
from benchmarks.load.target import Target
from benchmarks.peers.peer import Tools, UnavailableError

LOAD = drawn(requests=3, rate=5.0, prompt_words=4, output_tokens=8, seed=3)
ADDRESS = Target("http://127.0.0.1:1", "m")
BY_PERCENT = {50: 1.0, 90: 2.0, 99: 3.0}
NAMED = {"p50": 1.0, "p90": 2.0, "p99": 3.0}


def write(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def tools(tmp_path):
    """Environments that claim to hold what is pinned."""
    peers = tmp_path / "peers"
    for pin in (aiperf.PIN, guidellm.PIN):
        (peers / pin.name).mkdir(parents=True)
        (peers / pin.name / "requirements.txt").write_text("\n".join(pin.requirements) + "\n")
    return Tools(peers)


def test_vllm_takes_prompts_and_lengths_and_draws_times_from_the_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(vllm_bench, "_VERSION", "print('0.32.0')")
    generator = vllm_bench.find(sys.executable)
    command = generator.command(LOAD, ADDRESS, tmp_path)
    assert generator.version == "0.32.0"
    assert lines(tmp_path / "prompts.jsonl") == [{"prompt": p, "output_tokens": 8} for p in LOAD.prompts]
    assert command[command.index("--seed") + 1] == "3"
    assert command[command.index("--request-rate") + 1] == "5.0"


def test_vllm_says_itself_what_is_wanted(tmp_path):
    flat = {f"p{q}_{name}_ms": ms for name in LATENCIES for q, ms in BY_PERCENT.items()}
    write(tmp_path / "vllm.json", {"completed": 3, "start_times": [7, 8, 9], **flat})
    report = vllm_bench.read(tmp_path)
    assert report.completed == 3
    assert report.percentiles_ms == dict.fromkeys(LATENCIES, BY_PERCENT) == flat_percentiles(flat)
    assert report.sent_s == [7, 8, 9]


def test_an_interpreter_without_vllm_is_told(tmp_path):
    with pytest.raises(UnavailableError, match="expected an interpreter with vllm"):
        vllm_bench.find(tmp_path / "python")


def test_aiperf_takes_bodies_and_times(tmp_path, tools):
    aiperf.find(tools).command(LOAD, ADDRESS, tmp_path)
    assert lines(tmp_path / "trace.jsonl") == [
        {"timestamp": 1000 * due_s, "payload": body}
        for due_s, body in zip(LOAD.due_s, LOAD.bodies("m"), strict=True)
    ]


def test_aiperfs_inter_token_latency_is_a_mean_over_an_answer(tmp_path):
    home = tmp_path / "aiperf"
    fields = ("time_to_first_token", "inter_token_latency", "inter_chunk_latency", "request_latency")
    scaled = {field: {q: ms * by for q, ms in NAMED.items()} for by, field in enumerate(fields, start=1)}
    write(home / "profile_export_aiperf.json", {"request_count": {"avg": 1.0}, **scaled})
    write(home / "profile_export.jsonl", {"metadata": {"request_start_ns": 2_500_000_000}})
    report = aiperf.read(tmp_path)
    assert [report.percentiles_ms[name][50] for name in LATENCIES] == [1, 2, 3, 4]
    assert report.sent_s == [2.5]


def test_guidellm_takes_prompts_times_and_lengths(tmp_path, tools):
    guidellm.find(tools).command(LOAD, ADDRESS, tmp_path)
    rows = lines(tmp_path / "prompts.jsonl")
    assert [row["relative_timestamp"] for row in rows] == list(LOAD.due_s)
    assert {row["output_tokens_count"] for row in rows} == {8}


def test_guidellm_tells_no_gaps_and_seconds_for_the_whole(tmp_path):
    of = {"successful": {"percentiles": NAMED}}
    metrics = {"time_to_first_token_ms": of, "inter_token_latency_ms": of, "request_latency": of}
    metrics["request_totals"] = {"successful": 1}
    benchmark = {"metrics": metrics, "requests": {"successful": [{"request_start_time": 4.0}]}}
    write(tmp_path / "guidellm.json", {"benchmarks": [benchmark]})
    report = guidellm.read(tmp_path)
    assert set(report.percentiles_ms) == {"ttft", "tpot", "e2el"}
    assert report.percentiles_ms["e2el"] == {q: 1000 * BY_PERCENT[q] for q in PERCENTILES}
    assert report.sent_s == [4.0]
