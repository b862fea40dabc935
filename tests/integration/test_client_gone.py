"""A client that leaves frees the replica at once, in whichever phase it leaves, and nothing stays counted."""

import asyncio

import pytest

from balancer.core.types import Health
from tests.fakes.balancer import cluster
from tests.fakes.client import CHAT, stream
from tests.fakes.loops import on_both_loops, until
from tests.fakes.replica import ROLE, SSE_HEAD, chunk, silent, token

BEFORE_THE_ANSWER = ()
HELD = (SSE_HEAD, chunk(b": wait\n\n"))
RELAYED = (SSE_HEAD, chunk(ROLE), chunk(token("a")))
LEAVE = pytest.mark.parametrize("leave", ["close", "reset"])


async def gone(client, leave):
    await client.close() if leave == "close" else client.reset()


@LEAVE
@pytest.mark.parametrize("sent", [BEFORE_THE_ANSWER, HELD, RELAYED])
@on_both_loops
async def test_leaving_closes_upstream(sent, leave):
    async with cluster(2) as (front, replicas):
        asked = []

        def script(connection, request):
            asked.append(connection)
            connection.write(*sent)

        for replica in replicas:
            replica.on_post = script
        client = await front.client()
        client.send(stream())
        await until(lambda: asked)
        if sent is RELAYED:
            answer = await client.head()
            await client.more(answer)
        assert not front.idle()
        await gone(client, leave)
        async with asyncio.timeout(5):
            await asked[0].closed.wait()
        await until(front.idle)
        assert len(asked) == 1
        assert all(state.health is Health.HEALTHY for state in front.fleet)
        page = (await front.ask(target="/metrics")).body.decode()
        assert 'code="499",ended_by="client"' in page


@LEAVE
@on_both_loops
async def test_leaving_a_flood_that_one_does_not_read(leave):
    async with cluster() as (front, (replica,)):
        closed = asyncio.Event()

        async def flood(connection, request):
            connection.write(SSE_HEAD)
            while not connection.closed.is_set():
                await connection.write_when_read(chunk(token("x" * 60_000)))
            closed.set()

        replica.on_post = flood
        client = await front.client(receive_buffer_bytes=64 * 1024)
        client.send(stream())
        await client.head()
        # congested: the balancer waits for its client
        server = front.balancer._server.connections[0]
        await until(lambda: server.transport.get_write_buffer_size() > 64 * 1024)
        await gone(client, leave)
        async with asyncio.timeout(5):
            await closed.wait()
        await until(front.idle)


@LEAVE
@on_both_loops
async def test_leaving_before_the_body_is_there(leave):
    async with cluster() as (front, (replica,)):
        client = await front.client()
        client.send(None, CHAT, {"Content-Length": "1000"}, "POST")
        client.writer.write(b"{")
        await until(lambda: front.balancer._server.connections)
        await gone(client, leave)
        await until(lambda: not front.balancer._server.connections)
        assert front.idle()
        assert replica.posts == []


@on_both_loops
async def test_leaving_while_a_connection_is_made():
    async with cluster(1, health_interval_s=60) as (front, (replica,)):
        pool = front.balancer.replicas.pools[front.fleet[0]]
        connecting = asyncio.Event()

        async def connect():
            connecting.set()
            await asyncio.Event().wait()

        pool.connect = connect
        client = await front.client()
        client.send(stream())
        await connecting.wait()
        await client.close()
        await until(front.idle)
        assert front.fleet[0].health is Health.HEALTHY


@on_both_loops
async def test_a_crowd_that_leaves_at_once():
    async with cluster(2) as (front, replicas):
        for replica in replicas:
            replica.on_post = silent
        clients = [await front.client() for _ in range(40)]
        for client in clients:
            client.send(stream())
        await until(lambda: sum(state.in_flight for state in front.fleet) == 40)
        for client in clients:
            client.reset()
        await until(front.idle)
        await until(lambda: all(len(replica.open) <= 4 for replica in replicas))  # the probes' own
