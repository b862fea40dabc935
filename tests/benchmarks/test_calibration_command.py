"""`python -m benchmarks calibrate` and what it asks over HTTP, against replicas that are no vLLM."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from aiohttp import web
from typer.testing import CliRunner

from balancer.embedded.engine import PROFILES
from benchmarks.__main__ import app
from benchmarks.calibration.measured import Replica, UnfitError
from benchmarks.calibration.modelled import Costs, Setting, modelled
from benchmarks.calibration.plan import plan
from benchmarks.calibration.points import Call, Kind, Piece, Point
from benchmarks.processes import free_ports
from tests.embedded.replica_client import replica as embedded
from tests.fakes.served import served

KEPT = Path(__file__).parents[2] / "benchmarks" / "results" / "calibration.json"


def calibrate(*arguments: str):
    return CliRunner().invoke(app, ["calibrate", *arguments], env={"COLUMNS": "150"})


def test_the_embedded_replica_counts_what_the_model_counts():
    """Its engine is the model, so that only the HTTP side can differ."""
    prefix, tail = Piece(1, 96), Piece(2, 40)
    warm = Point("w", Kind.CACHED, (Call(0.0, (prefix, tail), 3),), warming=(Call(0.0, (prefix,), 1),))
    many = Point("m", Kind.PREEMPTED, tuple(Call(0.0, (Piece(10 + i, 160),), 96) for i in range(8)))

    async def main():
        options = {"max_num_seqs": 8, "max_num_batched_tokens": 512}
        limits = {"kv_capacity_tokens": 1024, "max_model_len": 512, "block_size": 16}
        async with embedded(**options, **limits) as client, Replica(str(client.session._base_url)) as replica:
            setting = await replica.setting(**options)
            return setting, await replica.measure([warm, many], rounds=2, advance=lambda: None)

    setting, measured = asyncio.run(main())

    assert (setting.block_size, setting.kv_capacity_tokens, setting.max_model_len) == (16, 1024 - 16, 512)
    assert measured["w"].cached_tokens == [96]
    assert len(measured["w"].rounds["TTFT"]) == 2
    tiny = PROFILES["tiny"]
    costs = Costs(tiny.base_s, tiny.prefill_s_per_token, 0.0, tiny.decode_s_per_sequence, 0.0, 0.0, 0.0)
    assert measured["m"].preemptions
    assert modelled(many, costs, setting).preemptions
    assert measured["m"].figures["time of the batch"] > 0


@contextlib.asynccontextmanager
async def fake(events: list[object] = (), reset: int = 200, models: object = None):
    """A server with vLLM's routes and the given answers."""

    async def complete(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in events:
            await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    async def answer_reset(request: web.Request) -> web.Response:
        return web.Response(status=reset)

    async def answer_models(request: web.Request) -> web.Response:
        return web.json_response(models or {"data": [{"id": "m", "max_model_len": 4096}]})

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(text='vllm:cache_config_info{block_size="32",num_gpu_blocks="320"} 1.0\n')

    server = web.Application()
    server.router.add_post("/v1/completions", complete)
    server.router.add_post("/reset_prefix_cache", answer_reset)
    server.router.add_get("/v1/models", answer_models)
    server.router.add_get("/metrics", metrics)
    async with served(server) as url:
        yield url


def measure_one(**answers: object):
    async def main():
        async with fake(**answers) as url, Replica(url) as replica:
            await replica.setting(max_num_seqs=16, max_num_batched_tokens=2048)
            point = Point("p", Kind.COLD, (Call(0.0, (Piece(1, 64),), 3),))
            return (await replica.measure([point], rounds=1, advance=lambda: None))["p"]

    return asyncio.run(main())


def test_an_event_may_carry_several_tokens_and_usage_tells_what_was_cached():
    events = [
        {"choices": [{"token_ids": [5, 6]}]},
        {"choices": [{"token_ids": [7]}], "usage": None},
        {"choices": [], "usage": {"prompt_tokens": 64, "prompt_tokens_details": {"cached_tokens": 32}}},
    ]

    measured = measure_one(events=events)

    assert measured.cached_tokens == [32]
    assert measured.figures["TTFT"] > 0


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"reset": 404}, r"/reset_prefix_cache: expected status 200, got 404; .*VLLM_SERVER_DEV_MODE=1"),
        ({"events": [{"choices": [{"text": "x"}]}]}, "expected 3 token_ids in the stream, got 0"),
        ({"events": [{"choices": [{"token_ids": [1, 2]}]}]}, "expected 3 token_ids in the stream, got 2"),
        ({"events": [{"error": {"code": 503}}]}, "expected tokens, got {'code': 503}"),
        ({"models": {"data": []}}, "/v1/models: expected JSON with data.0.id"),
    ],
)
def test_a_replica_that_cannot_be_measured_is_told_in_words(answers, told):
    with pytest.raises(UnfitError, match=told):
        measure_one(**answers)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--render", "/no/such.json"), "expected a result of `calibrate`"),
        (("--venv", "/no/such"), "--venv: expected a vLLM in /no/such"),
        (("--rounds", "0"), "--rounds"),
    ],
)
def test_a_bad_option_is_told_in_words(arguments, told):
    done = calibrate(*arguments)

    assert done.exit_code == 2
    assert told in " ".join(done.output.replace("│", "").split())


def test_a_url_where_nobody_serves_is_told_in_words():
    (port,) = free_ports(1)

    done = calibrate("--url", f"http://127.0.0.1:{port}")

    assert done.exit_code == 2
    assert "expected a replica that answers" in " ".join(done.output.replace("│", "").split())


def test_a_result_with_a_field_missing_is_told_in_words(tmp_path):
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"benchmark": "calibrate", "measured": {}}))

    done = calibrate("--render", str(path))

    assert done.exit_code == 2
    assert "missing or unknown: 'setting'" in " ".join(done.output.replace("│", "").split())


def test_the_kept_measurement_still_meets_the_goal_with_the_engine_model_of_today(tmp_path):
    again = tmp_path / "again.json"

    done = calibrate("--render", str(KEPT), "--json", str(again), "--check")

    assert done.exit_code == 0, done.output
    for count in json.loads(again.read_text())["counts"]:
        assert count["same_cached_tokens"] in {None, count["calls"]}, count
        if count["measured_preemptions"] is not None:
            assert count["modelled_preemptions"] == count["measured_preemptions"], count


def test_check_fails_where_the_goal_is_missed(tmp_path):
    result = json.loads(KEPT.read_text())
    for point in plan(Setting(**result["setting"])):
        if point.held_out:
            kept = result["measured"][point.name]
            kept["figures"] = {figure: 2 * value for figure, value in kept["figures"].items()}
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))

    assert calibrate("--render", str(path), "--check").exit_code == 1
    assert calibrate("--render", str(path)).exit_code == 0
