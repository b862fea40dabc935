"""What the balancer answers itself: its pages, and its refusals."""

import asyncio

import pytest

from balancer import __version__
from balancer.core.types import Health
from tests.fakes.balancer import balancing, cluster
from tests.fakes.client import CHAT, chat
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import Replica, silent

LIMIT = 1000


@on_both_loops
async def test_models_are_those_of_all_replicas_once_each():
    async with cluster(2, wait_for=None) as (front, replicas):
        replicas[0].models = [{"id": "m", "object": "model", "max_model_len": 4096, "root": "/m"}]
        replicas[1].models = [
            {"id": "m", "object": "model", "max_model_len": 2048},
            {"id": "org/lora", "object": "model", "parent": "m"},
        ]
        await until(lambda: front.fleet[1].models == {"m", "org/lora"})
        listed = (await front.ask(target="/v1/models")).json()
        assert listed["object"] == "list"
        models = {model["id"]: model for model in listed["data"]}
        assert models.keys() == {"m", "org/lora"}
        assert len(listed["data"]) == 2
        assert models["m"]["max_model_len"] == 2048
        assert models["m"]["root"] == "/m"
        assert models["org/lora"] == {"id": "org/lora", "object": "model", "parent": "m"}
        for target in ("/v1/models/org/lora", "/v1/models/org%2FlorA".replace("A", "a")):
            assert (await front.ask(target=target)).json() == models["org/lora"]
        assert (await front.ask(target="/v1/models/nope")).status == 404


@async_test
async def test_declared_models_are_listed_before_a_replica_answers():
    replica = await Replica().start()
    replica.on_probe["/v1/models"] = silent
    given = {"url": replica.url, "name": "r0", "models": ["declared"]}
    async with balancing(given) as front:
        listed = (await front.ask(target="/v1/models")).json()["data"]
        assert [model["id"] for model in listed] == ["declared"]
        assert (await front.ask({**chat(), "model": "declared"})).status == 200
        assert (await front.ask(chat())).status == 404
    await replica.stop()


@on_both_loops
async def test_ready_is_whether_a_replica_is_healthy_and_health_is_not():
    async with cluster(2) as (front, replicas):
        ready = await front.ask(target="/ready")
        assert (ready.status, ready.json()) == (
            200,
            {"status": "ready", "healthy_replicas": 2, "replicas": 2},
        )
        for replica in replicas:
            await replica.stop()
        await until(lambda: all(state.health is Health.UNHEALTHY for state in front.fleet))
        assert (await front.ask(target="/ready")).status == 503
        assert (await front.ask(target="/health")).status == 200
        assert (await front.ask(target="/health", method="HEAD")).status == 200


@async_test
async def test_version_and_load():
    async with cluster() as (front, (replica,)):
        assert (await front.ask(target="/version")).json() == {"version": __version__}
        replica.on_post = silent
        client = await front.client()
        client.send(chat())
        await until(lambda: replica.posts)
        assert (await front.ask(target="/load")).json() == {"server_load": 1}


# -- refusals


def openai(answer, status, type_, **more):
    assert answer.status == status, answer
    assert answer.get("content-type") == "application/json"
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == (type_, more.get("code", status))
    return error


@on_both_loops
async def test_an_unknown_model_is_refused_in_the_clients_dialect():
    async with cluster() as (front, (replica,)):
        for path in (CHAT, "/v1/completions", "/v1/responses", "/v1/embeddings"):
            answer = await front.ask({**chat(), "model": "nope"}, target=path)
            error = openai(answer, 404, "NotFoundError")
            assert error["param"] == "model"
            assert "`nope`" in error["message"]
        answer = await front.ask({**chat(), "model": "nope"}, target="/v1/messages")
        assert answer.status == 404
        assert answer.json()["type"] == "error"
        assert answer.json()["error"]["type"] == "not_found_error"
        assert replica.posts == []


@pytest.mark.parametrize(
    "body", [b'{"model": "\\ud800"}', b'{"model": "a\\r\\nX: y"}', b'{"model": "\\u0000"}']
)
@async_test
async def test_an_odd_model_is_an_unknown_one(body):
    async with cluster() as (front, _):
        openai(await front.ask(body), 404, "NotFoundError")


@async_test
async def test_unknown_paths_and_methods():
    async with cluster() as (front, _):
        openai(await front.ask(target="/nope"), 404, "NotFoundError")
        openai(await front.ask(target=CHAT), 405, "MethodNotAllowedError")
        openai(await front.ask(b"", target="/v1/models"), 405, "MethodNotAllowedError")
        unknown = await front.ask(target="/v1/messages/nope")
        assert unknown.json()["error"]["type"] == "not_found_error"


@async_test
async def test_a_body_that_nobody_understands_is_the_replicas_to_refuse():
    async with cluster() as (front, (replica,)):
        replica.on_post = lambda connection, request: connection.respond(400, {"error": "yours"})
        for body in (b"", b"{", b"\xff", b"[1]", b"[" * 100_000):
            answer = await front.ask(body)
            assert (answer.status, answer.json()) == (400, {"error": "yours"})
            assert replica.posts[-1].body == body


@on_both_loops
async def test_a_body_beyond_the_limit_is_refused():
    async with cluster(max_body_bytes=LIMIT) as (front, (replica,)):
        assert (await front.ask(b"x" * LIMIT)).status == 200
        for body in (b"x" * (LIMIT + 1), b"x" * 200_000):
            openai(await front.ask(body), 413, "RequestEntityTooLargeError")
        chunked = await front.client()
        chunked.send(None, CHAT, {"Transfer-Encoding": "chunked"}, "POST")
        for _ in range(3):
            chunked.writer.write(b"1f4\r\n" + b"x" * 500 + b"\r\n")
        chunked.writer.write(b"0\r\n\r\n")
        openai(await chunked.read(), 413, "RequestEntityTooLargeError")
        assert len(replica.posts) == 1


@on_both_loops
async def test_a_client_that_asks_first_is_told_before_it_sends():
    async with cluster(max_body_bytes=LIMIT) as (front, (replica,)):
        client = await front.client()
        headers = {"Expect": "100-continue", "Content-Length": str(LIMIT + 1)}
        client.send(None, CHAT, headers, "POST")
        answer = await client.read()
        assert answer.interim == []
        openai(answer, 413, "RequestEntityTooLargeError")

        client = await front.client()
        client.send(None, CHAT, {**headers, "Content-Length": "2"}, "POST")
        async with asyncio.timeout(5):
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(b"{}")
        assert (await client.read()).status == 200
        assert replica.posts[0].body == b"{}"
        assert replica.posts[0].all("expect") == []


@async_test
async def test_a_request_that_is_no_http_gets_no_traceback_and_reaches_nobody():
    async with cluster(max_header_bytes=8192) as (front, (replica,)):
        for raw in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ):
            client = await front.client()
            client.writer.write(raw)
            answer = await client.read()
            assert answer.status == 400
            assert b"Traceback" not in answer.body
            assert await client.closed() == b""
        assert replica.posts == []


@async_test
async def test_a_head_beyond_the_limit_is_431():
    async with cluster(max_header_bytes=8192) as (front, _):
        answer = await front.ask(chat(), headers={"X-Long": "x" * 9000})
        assert answer.status == 431
