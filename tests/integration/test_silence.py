"""Nobody waits for ever: for a replica that has gone silent, or for a client that reads nothing."""

import asyncio

import pytest

from balancer.core.fleet import patience
from tests.fakes.balancer import cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import DONE, LAST_CHUNK, ROLE, SSE_HEAD, chunk, silent, token

MIB = 1024 * 1024
GREEDY = {"temperature": 0, "max_tokens": 9}


@pytest.fixture
def hasty(monkeypatch):
    for name in ("GONE_S", "DOUBTFUL_S", "HEADLESS_S", "TRUSTED_S", "UNSEEN_S"):
        monkeypatch.setattr(patience, name, getattr(patience, name) / 50)


def first_asked(replicas, script):
    """Whoever is asked first does this; the others answer as ever."""
    asked = []
    for replica in replicas:
        healthy = replica.on_post

        def on_post(connection, request, healthy=healthy):
            asked.append(connection.replica)
            return script(connection, request) if len(asked) == 1 else healthy(connection, request)

        replica.on_post = on_post
    return asked


@on_both_loops
async def test_a_stream_whose_head_does_not_come_is_taken_over(hasty):
    async with cluster(2) as (front, replicas):
        asked = first_asked(replicas, silent)
        answer = await front.ask(stream())
        assert answer.complete
        assert len(set(asked)) == 2
        await until(front.idle)


@async_test
async def test_a_plain_answer_is_waited_for_while_engine_counters_move(hasty):
    async with cluster(2) as (front, replicas):
        connections = []
        asked = first_asked(replicas, lambda connection, request: connections.append(connection))
        client = await front.client()
        client.send(chat())
        await until(lambda: asked)
        for count in range(100, 130):  # longer than TRUSTED_S
            asked[0].metrics = asked[0].metrics.replace(b"%d.0" % count, b"%d.0" % (count + 1))
            await asyncio.sleep(0.1)
        assert len(asked) == 1
        connections[0].respond(200, {"late": True})
        assert (await client.read()).json() == {"late": True}


@async_test
async def test_a_plain_answer_of_a_replica_that_stands_still_is_taken_over(hasty):
    async with cluster(2) as (front, replicas):
        asked = first_asked(replicas, silent)
        assert (await front.ask(chat())).json()["served_by"] == asked[1].name
        assert len(asked) == 2


@async_test
async def test_a_stream_that_stops_is_gone_on_with(hasty):
    async with cluster(2) as (front, replicas):

        def stops(connection, request):
            connection.write(SSE_HEAD, chunk(ROLE), chunk(token("so")))

        asked = first_asked(replicas, stops)
        answer = await front.ask(stream(**GREEDY))
        assert answer.complete
        assert b"resumed after 1 tokens" in answer.body
        assert asked[1].name.encode() in answer.body


@async_test
async def test_what_waits_behind_a_closed_port_is_soon_taken_over(hasty):
    """As when vLLM is told to end: its port closes at once, and what it had hangs."""
    async with cluster(2) as (front, replicas):
        asked = first_asked(replicas, silent)
        client = await front.client()
        client.send(chat())
        await until(lambda: asked)
        asked[0]._server.close()
        for connection in asked[0].open:
            if not connection.requests or connection.replica.probes:
                connection.replica.on_probe = dict.fromkeys(("/health", "/metrics", "/v1/models"), silent)
        assert (await client.read()).json()["served_by"] == asked[1].name


@async_test
async def test_comments_are_a_sign_of_life(hasty):
    async with cluster(2) as (front, replicas):

        async def slow(connection, request):
            connection.write(SSE_HEAD)
            for _ in range(20):
                connection.write(chunk(b": keep-alive\n\n"))
                await asyncio.sleep(0.1)
            connection.write(chunk(ROLE), chunk(token("late")), chunk(DONE), LAST_CHUNK)

        asked = first_asked(replicas, slow)
        answer = await front.ask(stream())
        assert (answer.complete, b"late" in answer.body) == (True, True)
        assert len(asked) == 1


@async_test
async def test_a_limit_of_all_time_ends_what_is_under_way():
    async with cluster(total_timeout_s=0.3) as (front, (replica,)):
        replica.on_post = silent
        answer = await front.ask(chat())
        assert (answer.status, answer.json()["error"]["type"]) == (504, "GatewayTimeoutError")
        replica.on_post = lambda connection, request: connection.write(SSE_HEAD, chunk(ROLE))
        answer = await front.ask(stream())
        assert not answer.complete
        assert b"total_timeout_s" in answer.body
        await until(front.idle)
        page = (await front.ask(target="/metrics", method="GET")).body.decode()
        assert 'code="504",ended_by="timeout"' in page
        assert 'code="200",ended_by="timeout"' in page


# -- clients


async def flooded(front, replica):
    """A client that has stopped to read a stream without end; and the replica's side of it."""

    async def flood(connection, request):
        connection.write(SSE_HEAD)
        while not connection.closed.is_set():
            await connection.write_when_read(chunk(token("x" * 60_000)))

    replica.on_post = flood
    client = await front.client(receive_buffer_bytes=64 * 1024)
    client.send(stream())
    await client.head()
    return client, next(c for c in replica.connections if c.sent_bytes > 60_000)


@on_both_loops
async def test_a_client_that_reads_nothing_is_let_go(caplog):
    async with cluster(client_stall_timeout_s=0.3) as (front, (replica,)):
        _, upstream = await flooded(front, replica)
        await upstream.closed.wait()
        await until(front.idle)
        page = (await front.ask(target="/metrics", method="GET")).body.decode()
        assert 'code="499",ended_by="slow_client"' in page


@async_test
async def test_a_client_that_reads_slowly_is_not():
    async with cluster(client_stall_timeout_s=0.3) as (front, (replica,)):
        client, upstream = await flooded(front, replica)
        for _ in range(8):
            await asyncio.sleep(0.15)
            await client.reader.read(2 * MIB)
        assert not upstream.closed.is_set()
