"""HTTP is kept on both sides: framing, hop-by-hop and end-to-end headers, reused connections."""

import asyncio
import gzip
import json

import pytest

from tests.blackbox.kit.client import chat, connect
from tests.blackbox.kit.lab import check
from tests.blackbox.kit.replica import DONE, delta, event

pytestmark = pytest.mark.blackbox


@check("litellm#25624", "production-stack#827", "production-stack#836", "freelens-ai#272")
async def test_a_compressed_answer_stays_consistent(lab):
    [replica] = await lab.replicas(1)
    encoded = [("Content-Encoding", "gzip")]
    plain, streamed = json.dumps({"choices": [], "pad": "y" * 5000}).encode(), event(delta("A")) + DONE

    async def compress(request, connection):
        if request.streams:
            packed = gzip.compress(streamed)
            await connection.stream(*(packed[i : i + 40] for i in range(0, len(packed), 40)), headers=encoded)
        else:
            await connection.respond(200, gzip.compress(plain), encoded)

    replica.on_post = compress
    balancer = await lab.balancer([replica])
    for stream, sent in ((False, plain), (True, streamed)):
        answer = await balancer.ask(chat(stream=stream), headers=[("Accept-Encoding", "gzip")])
        assert answer.ok, answer
        body = gzip.decompress(answer.body) if answer.get("content-encoding") == "gzip" else answer.body
        assert body == sent, answer


@check("RFC 9110 7.6.1", "ArcReel#2445", "sglang#8972")
async def test_hop_by_hop_request_headers_stop_here(lab):
    [replica] = await lab.replicas(1)
    balancer = await lab.balancer([replica])
    hop = [("Connection", "X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5"), ("TE", "trailers")]
    await balancer.ask(chat("h"), headers=[*hop, ("Proxy-Authorization", "Basic abc")])
    [request] = replica.posts
    leaked = [name for name in ("x-hop", "keep-alive", "te", "proxy-authorization") if request.get(name)]
    assert not leaked
    assert len(request.all("content-length")) + len(request.all("transfer-encoding")) == 1, request.headers
    assert request.all("host") in ([replica.url.removeprefix("http://")], ["balancer"])


@check("miles#851", "miles#1004", "gateway-api-inference-extension#2993", "sglang#27523")
async def test_an_answer_has_one_framing_and_keeps_repeated_headers(lab):
    [replica] = await lab.replicas(1)
    extra = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Request-Id", "replica-7")]
    extra += [("Connection", "keep-alive"), ("Keep-Alive", "timeout=5")]
    events = [event(delta("A")), DONE]

    async def answer_twice(request, connection):
        if request.streams:
            await connection.stream(*events, headers=extra)
        else:
            await connection.respond(200, {"ok": 1}, extra)

    replica.on_post = answer_twice
    balancer = await lab.balancer([replica])
    for stream, body in ((False, b'{"ok": 1}'), (True, b"".join(events))):
        answer = await balancer.ask(chat(stream=stream))
        assert answer.ok, answer
        assert answer.body == body, answer
        assert len(answer.all("content-length")) + len(answer.all("transfer-encoding")) <= 1, answer
        assert len(answer.all("content-type")) == 1, answer
        assert max(len(answer.all(name)) for name in ("date", "server", "connection")) <= 1, answer
        assert answer.get("keep-alive") != "timeout=5", "a hop-by-hop header was relayed"
        assert answer.all("set-cookie") == ["a=1", "b=2"], answer
        assert not stream or "event-stream" in (answer.get("content-type") or ""), answer


@check("production-stack#892", "production-stack#733", "proxycache#7", "router#70")
async def test_end_to_end_headers_pass(lab):
    [replica] = await lab.replicas(1)
    told = [("X-Backend-Info", "v1"), ("openai-processing-ms", "12")]
    replica.on_post = lambda _, connection: connection.respond(200, {"ok": 1}, told)
    balancer = await lab.balancer([replica])
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    sent = [("Authorization", "Bearer tok-1"), ("X-Request-Id", "rid-1"), ("X-Custom-Tenant", "t1")]
    sent += [("Accept-Language", "ko")]
    answer = await balancer.ask(
        chat("h"), headers=[*sent, ("traceparent", f"00-{trace}-00f067aa0ba902b7-01")]
    )
    [request] = replica.posts
    assert [(name, request.get(name)) for name, _ in sent] == sent
    assert trace in (request.get("traceparent") or "")
    assert [(name, answer.get(name)) for name, _ in told] == told, answer


@check("production-stack#612", "aiohttp#3597")
async def test_a_client_connection_survives_errors(lab):
    """Six requests on one connection: large bodies, errors and streams in turn."""
    [replica] = await lab.replicas(1)
    refused = {1: 400, 3: 429}

    async def moody(request, connection):
        if status := refused.get(request.json()["seed"]):
            await connection.respond(status, {"error": {"message": "x", "code": status}})
        else:
            await replica.answer(request, connection)

    replica.on_post = moody
    balancer = await lab.balancer([replica])
    client = await connect(balancer.url)
    try:
        for seed in range(6):
            client.complete = False
            client.send(chat("p" * 300_000, stream=seed == 4, seed=seed))
            await asyncio.wait_for(client.read(), 10)
            assert (client.status, client.complete) == (refused.get(seed, 200), True), (seed, client)
            if (client.get("connection") or "").lower() == "close":  # announced: allowed
                break
    finally:
        client.close()
