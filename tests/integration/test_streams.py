"""Streams pass as they come, at the client's pace, and a break in one is never taken for its end."""

import asyncio
import hashlib

import pytest

from tests.fakes.balancer import cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import DONE, LAST_CHUNK, ROLE, SSE_HEAD, USAGE, chunk, token

MIB = 1024 * 1024
TO_CLOSE = SSE_HEAD.replace(b"Transfer-Encoding: chunked\r\n", b"")


def streaming(replica):
    """Let the test write the answers itself: the connections, as they are asked."""
    asked = asyncio.Queue()
    replica.on_post = lambda connection, request: asked.put_nowait(connection)
    return asked


@on_both_loops
async def test_each_event_passes_when_it_comes():
    async with cluster() as (front, (replica,)):
        asked = streaming(replica)
        client = await front.client()
        client.send(stream())
        upstream = await asked.get()
        upstream.write(SSE_HEAD, chunk(ROLE))
        answer = await client.head()
        assert answer.get("content-type") == "text/event-stream; charset=utf-8"
        assert await client.more(answer) == ROLE
        assert front.fleet[0].pending_tokens > 0
        for number in range(5):
            upstream.write(chunk(token(str(number))))
            assert await client.more(answer) == token(str(number))
            assert front.fleet[0].pending_tokens == 0
        upstream.write(chunk(USAGE), chunk(DONE), LAST_CHUNK)
        await client.read(answer)
        assert answer.complete
        await until(front.idle)


@on_both_loops
async def test_the_connections_of_both_sides_are_used_again():
    async with cluster() as (front, (replica,)):
        client = await front.client()
        for _ in range(10):
            assert (await client.ask(stream())).complete
            assert (await client.ask(chat())).complete
        assert len({connection for connection in replica.connections if connection.requests >= 20}) == 1


@pytest.mark.parametrize("end", ["fin", "reset"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@on_both_loops
async def test_a_stream_that_breaks_ends_with_an_error_and_not_tidily(end, path):
    async with cluster(2) as (front, replicas):
        asked = [streaming(replica) for replica in replicas]
        client = await front.client()
        client.send(stream(), target=path)
        await until(lambda: any(queue.qsize() for queue in asked))
        upstream = next(queue for queue in asked if queue.qsize()).get_nowait()
        upstream.write(SSE_HEAD, chunk(ROLE), chunk(token("a")))
        answer = await client.head()
        await client.more(answer)
        getattr(upstream, end)()
        await client.read(answer)
        assert not answer.complete
        assert answer.end == "closed"
        last = answer.body.removeprefix(ROLE + token("a"))
        assert b'"error"' in last
        assert last.startswith(b"event: error\n" if path == "/v1/messages" else b"data: ")
        assert last.endswith(b"\n\n")
        assert sum(len(replica.posts) for replica in replicas) == 1  # never replayed
        await until(front.idle)


@async_test
async def test_of_an_event_that_breaks_off_nothing_is_given():
    async with cluster() as (front, (replica,)):
        asked = streaming(replica)
        client = await front.client()
        client.send(stream())
        upstream = await asked.get()
        upstream.write(SSE_HEAD, chunk(ROLE), b"100\r\ndata: {")
        answer = await client.head()
        await client.more(answer)
        upstream.reset()
        await client.read(answer)
        assert not answer.complete
        assert answer.body.startswith(ROLE + b'data: {"error"')


@on_both_loops
async def test_a_stream_without_framing_gets_one():
    async with cluster() as (front, (replica,)):
        asked = streaming(replica)
        client = await front.client()
        client.send(stream())
        upstream = await asked.get()
        upstream.write(TO_CLOSE, ROLE, token("a"), DONE)
        upstream.fin()
        answer = await client.read()
        assert (answer.complete, answer.body) == (True, ROLE + token("a") + DONE)
        assert answer.get("transfer-encoding") == "chunked"


@on_both_loops
async def test_an_old_client_gets_no_chunks():
    async with cluster() as (front, (_,)):
        client = await front.client()
        client.send(stream(), version="1.0", headers={"Connection": "keep-alive"})
        answer = await client.read()
        assert answer.get("transfer-encoding") is None
        assert answer.get("connection") == "close"
        assert len(answer.events()) == 4
        client = await front.client()
        client.send(chat(), version="1.0", headers={"Connection": "keep-alive"})
        assert (await client.read()).get("connection") == "keep-alive"
        client.send(chat(), version="1.0")
        assert (await client.read()).get("connection") == "close"
        assert await client.closed() == b""


@on_both_loops
async def test_a_slow_reader_slows_the_replica_and_loses_nothing():
    async with cluster() as (front, (replica,)):
        big = token("x" * 60_000)
        count = 64 * MIB // len(big)

        async def flood(connection, request):
            connection.write(SSE_HEAD)
            for _ in range(count):
                await connection.write_when_read(chunk(big))
            connection.write(LAST_CHUNK)

        replica.on_post = flood
        client = await front.client(receive_buffer_bytes=64 * 1024)
        client.send(stream())
        answer = await client.head()
        upstream = next(c for c in replica.connections if c.sent_bytes > 60_000)

        async def stalled():
            before = -1
            while before != upstream.sent_bytes:
                before = upstream.sent_bytes
                await asyncio.sleep(0.2)

        await asyncio.wait_for(stalled(), 10)
        assert upstream.sent_bytes < 24 * MIB  # what sockets hold, and no more
        assert max(len(p._idle) for p in front.balancer.replicas.pools.values()) <= 1
        (server,) = front.balancer._server.connections[:1]
        assert server.transport.get_write_buffer_size() < MIB
        received = hashlib.sha256()
        while piece := await client.more(answer):
            received.update(piece)
            answer.body = b""
        assert received.digest() == hashlib.sha256(big * count).digest()
        await until(front.idle)


@on_both_loops
async def test_a_large_answer_and_a_large_question_pass_whole():
    async with cluster() as (front, (replica,)):
        blob = bytes(range(256)) * (8 * MIB // 256)
        replica.on_post = lambda connection, request: connection.respond(200, request.body)
        client = await front.client()
        for _ in range(2):
            answer = await client.ask(blob)
            assert answer.complete
            assert answer.body == blob


@on_both_loops
async def test_requests_sent_at_once_are_answered_in_their_order():
    async with cluster() as (front, (replica,)):
        replica.on_post = lambda connection, request: connection.respond(200, request.body)
        client = await front.client()
        for number in range(20):
            client.send({"n": number, "model": "m"})
        for number in range(20):
            assert (await client.read()).json()["n"] == number


@on_both_loops
async def test_many_clients_at_once_each_get_their_own():
    async with cluster(2) as (front, replicas):

        def echo(connection, request):
            text = request.json()["messages"][0]["content"]
            connection.write(SSE_HEAD, chunk(ROLE))
            asyncio.get_running_loop().call_later(
                0.01, connection.write, chunk(token(text)), chunk(DONE), LAST_CHUNK
            )

        for replica in replicas:
            replica.on_post = echo
        answers = await asyncio.gather(*(front.ask(stream(f"question {n}")) for n in range(60)))
        for number, answer in enumerate(answers):
            assert answer.events()[1]["choices"][0]["delta"]["content"] == f"question {number}"
        assert front.idle()
        assert sum(len(replica.posts) for replica in replicas) == 60
