"""The replica through its front door: errors, overload, disconnects, start and stop."""

import asyncio
import os
import re
import signal
import subprocess
import sys

import aiohttp
import pytest

from balancer.embedded.options import ReplicaOptions
from balancer.embedded.server import create_app
from tests.embedded.replica_client import CHAT, MESSAGES, RESPONSES, SLOW, TEXT, parse_events, with_replica

RUNNING = "vllm:num_requests_running{"


def test_the_small_routes():
    async def check(client):
        for path in ("/health", "/ping"):
            async with client.session.get(path) as response:
                assert (response.status, await response.read()) == (200, b"")
        assert await client.get("/version") == (200, {"version": "0.32.0"})
        assert await client.get("/load") == (200, {"server_load": 0})
        _, models = await client.get("/v1/models")
        assert [card["id"] for card in models["data"]] == ["first", "second"]
        assert models["data"][0]["root"] == "m"
        assert models["data"][0]["max_model_len"] == 1000
        assert await client.get("/nope") == (404, {"detail": "Not Found"})
        assert await client.post("/health") == (405, {"detail": "Method Not Allowed"})
        async with client.session.head("/health") as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET")

    with_replica(check, served_model_names=("first", "second"), max_model_len=1000)


def test_development_routes_are_there_only_when_asked_for():
    async def guarded(client):
        for path in ("/sleep", "/wake_up", "/pause", "/resume"):
            assert await client.post(path) == (404, {"detail": "Not Found"})
        assert await client.get("/is_sleeping") == (404, {"detail": "Not Found"})

    with_replica(guarded)


@pytest.mark.parametrize(("level", "state"), [("1", "weights_offloaded"), ("2", "discard_all")])
def test_an_engine_that_sleeps_lets_requests_hang_and_says_so(level, state):
    async def check(client):
        assert (await client.post("/v1/chat/completions", CHAT))[0] == 200
        async with client.session.post(f"/sleep?level={level}") as response:
            assert response.status == 200
        line = f'vllm:engine_sleep_state{{engine="0",model_name="m",sleep_state="{state}"}}'
        assert await client.metric(line) == 1
        assert await client.metric(line.replace(state, "awake")) == 0
        hanging = asyncio.ensure_future(client.post("/v1/chat/completions", CHAT))
        done, _ = await asyncio.wait([hanging], timeout=0.1)
        assert not done
        async with client.session.post("/wake_up") as response:
            assert response.status == 200
        assert await client.get("/is_sleeping") == (200, {"is_sleeping": False})
        status, answer = await hanging
        assert status == 200
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        assert (await client.post("/sleep?level=7"))[0] == 400

    with_replica(check, dev_mode=True)


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/v1/chat/completions", {**CHAT, "model": "nope"}, 404, "model"),
        ("/v1/completions", {**TEXT, "model": "nope"}, 404, "model"),
        ("/v1/responses", {**RESPONSES, "model": "nope"}, 404, "model"),
        ("/v1/embeddings", {"model": "nope", "input": "a"}, 404, "model"),
        ("/tokenize", {"model": "nope", "prompt": "a"}, 404, "model"),
        ("/v1/chat/completions", b"{bad", 400, "body"),
        ("/v1/chat/completions", b"", 400, "body"),
        ("/v1/chat/completions", b'"\xff"', 400, "body"),
        ("/v1/chat/completions", [1], 400, "body"),
        ("/v1/chat/completions", {"model": "m"}, 400, "body.messages"),
        ("/v1/chat/completions", {**CHAT, "messages": "x"}, 400, "body.messages"),
        ("/v1/chat/completions", {**CHAT, "messages": [{"content": "x"}]}, 400, "body.messages[0].role"),
        ("/v1/chat/completions", {**CHAT, "messages": []}, 400, None),
        ("/v1/chat/completions", {**CHAT, "max_tokens": "many"}, 400, "body.max_tokens"),
        ("/v1/chat/completions", {**CHAT, "max_tokens": 0}, 400, "max_tokens"),
        ("/v1/chat/completions", {**CHAT, "max_tokens": 99_999}, 400, "max_tokens"),
        ("/v1/chat/completions", {**CHAT, "n": 0}, 400, None),
        ("/v1/chat/completions", {**CHAT, "stop": [""]}, 400, "stop"),
        ("/v1/completions", {**TEXT, "prompt": ""}, 400, "prompt"),
        ("/v1/completions", {**TEXT, "prompt": None}, 400, "prompt"),
        ("/v1/completions", {**TEXT, "prompt": {"a": 1}}, 400, "body.prompt"),
        ("/v1/completions", {**TEXT, "prompt": ["a", [1]]}, 400, "body.prompt"),
        ("/v1/completions", {**TEXT, "prompt": [-1]}, 400, None),
        ("/v1/completions", {**TEXT, "prompt": [2**31]}, 400, None),
        ("/v1/completions", {**TEXT, "prompt": [300] * 5000}, 400, "input_tokens"),
        ("/tokenize", {"model": "m"}, 400, "body.prompt"),
        ("/detokenize", {"tokens": "x"}, 400, "body.tokens"),
        ("/v1/messages", {**MESSAGES, "max_tokens": 0}, 400, "body.max_tokens"),
        ("/v1/messages", {"model": "m", "messages": []}, 400, "body.max_tokens"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_request_is_said_as_vllm_says_it(path, body, status, param):
    async def check(client):
        headers = {"Content-Type": "application/json"}
        options = {"data": body, "headers": headers} if isinstance(body, bytes) else {"json": body}
        async with client.session.post(path, **options) as response:
            answer = await response.json()
        assert response.status == status, answer
        assert set(answer) == {"error"}
        assert answer["error"]["code"] == status
        assert answer["error"]["param"] == param
        assert answer["error"]["message"]
        assert (await client.get("/load"))[1] == {"server_load": 0}

    with_replica(check)


def test_anthropic_errors_and_the_wrong_content_type():
    async def check(client):
        message = "The model `nope` does not exist. Valid aliases: m."
        assert await client.post("/v1/messages", {**MESSAGES, "model": "nope"}) == (
            404, {"type": "error", "error": {"type": "NotFoundError", "message": message}},
        )  # fmt: skip
        async with client.session.post("/v1/chat/completions", data="{}") as response:
            assert response.status == 400
            assert "Unsupported Media Type" in (await response.json())["error"]["message"]

    with_replica(check)


def test_the_api_key_guards_v1_only():
    async def check(client):
        assert await client.post("/v1/completions", TEXT) == (401, {"error": "Unauthorized"})
        assert (await client.post("/v1/completions", TEXT, headers={"Authorization": "Bearer k"}))[0] == 200
        assert (await client.get("/version"))[0] == 200

    with_replica(check, api_key="k")


def test_more_requests_than_the_queue_holds_are_503():
    async def check(client):
        status, answer = await client.post("/v1/completions", {**TEXT, "n": 3})
        assert (status, answer["error"]["type"]) == (503, "Service Unavailable")
        assert (await client.post("/v1/completions", {**TEXT, "n": 3, "stream": True}))[0] == 503
        assert (await client.post("/v1/completions", {**TEXT, "n": 2}))[0] == 200
        assert (
            await client.metric(
                'vllm:admission_rejections_total{model_name="m",reason="max_num_queued_reqs"}'
            )
            == 2
        )

    with_replica(check, max_num_queued_reqs=2)


def test_a_streams_head_comes_before_its_prompt_is_computed():
    async def check(client):
        async with client.session.post("/v1/completions", json={**TEXT, "stream": True}) as response:
            assert response.status == 200
            assert not response.content.is_eof()
            assert await client.metric("vllm:prompt_tokens_total") == 0
            first = await response.content.readuntil(b"\n\n")
            assert parse_events(first.decode())[0][1]["choices"][0]["text"]
            await response.read()

    with_replica(check, **SLOW | {"speed": 0.01})


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_a_client_that_leaves_frees_its_sequences_at_once(path, stream):
    bodies = {
        "/v1/completions": TEXT, "/v1/chat/completions": CHAT, "/v1/messages": MESSAGES, "/v1/responses": RESPONSES,
    }  # fmt: skip

    async def check(client):
        length = {"max_tokens": 3000, "max_output_tokens": 3000, "ignore_eos": True, "stream": stream}

        async def ask():
            async with client.session.post(path, json=bodies[path] | length) as response:
                await response.read()

        asking = asyncio.get_running_loop().create_task(ask())
        await client.until(RUNNING, 1)
        asking.cancel()
        await asyncio.wait([asking])
        await client.until(RUNNING, 0)
        assert await client.metric("vllm:kv_cache_usage_perc{") == 0
        assert await client.metric('vllm:request_success_total{engine="0",finished_reason="abort"') == 1
        assert (await client.get("/load"))[1] == {"server_load": 0}

    with_replica(check, **SLOW)


def test_modelled_time_holds():
    async def check(client):
        loop = asyncio.get_running_loop()
        started = loop.time()
        await client.post("/v1/completions", {**TEXT, "max_tokens": 200})
        # 199 decode steps of the tiny profile take 1.01 ms each, and at half speed twice that.
        assert 0.4 < loop.time() - started < 1.2

    with_replica(check, speed=0.5)


def test_an_engine_that_dies_fails_every_request_and_health():
    async def main():
        app = create_app(ReplicaOptions(**SLOW))
        from aiohttp import web

        from balancer.embedded.replica import REPLICA

        runner = web.AppRunner(app, shutdown_timeout=0.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port = runner.addresses[0][1]
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                engine = app[REPLICA].engine
                async with session.post(
                    "/v1/completions", json={**TEXT, "max_tokens": 500, "stream": True}
                ) as stream:
                    await stream.content.readuntil(b"\n\n")
                    engine.finish_step = None  # the next step raises
                    events = parse_events((await stream.read()).decode())
                assert events[-2][1]["error"]["code"] == 500
                assert events[-1] == (None, "[DONE]")
                async with session.get("/health") as response:
                    assert response.status == 503
                async with session.post("/v1/completions", json=TEXT) as response:
                    assert (await response.json())["error"]["code"] == 500
        finally:
            await runner.cleanup()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("profile", "abacus"), ("speed", 0), ("port", 70_000), ("block_size", 0), ("max_num_seqs", 0),
        ("max_num_batched_tokens", 10), ("max_model_len", 100_000), ("kv_capacity_tokens", -1),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named(option, value):
    with pytest.raises(ValueError, match=rf"^{option}: expected"):
        ReplicaOptions(**{"profile": "tiny", option: value})


def test_the_process_says_where_it_is_and_ends_cleanly_on_sigterm():
    code = (
        "from balancer.embedded.server import *; "
        "run_replica(ReplicaOptions(port=0, profile='tiny', model='m', speed=0.02))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        url = re.fullmatch(r"m on (http://127\.0\.0\.1:\d+) \(tiny\)\n", line)[1]

        async def ask():
            async with aiohttp.ClientSession(url) as session:
                async with session.post(
                    "/v1/completions", json={**TEXT, "max_tokens": 500, "stream": True}
                ) as response:
                    await response.content.readuntil(b"\n\n")
                    os.kill(process.pid, signal.SIGTERM)
                    with pytest.raises(aiohttp.ClientPayloadError):
                        await response.read()

        asyncio.run(ask())
        assert process.wait(10) == 0
        assert process.communicate() == ("", "")
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
