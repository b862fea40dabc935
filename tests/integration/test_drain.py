"""Stopping: nobody new is let in, whoever is inside is served to the end, and a second signal ends the patience."""

import asyncio
import os
import signal

import pytest

from balancer.process import until_stopped
from tests.fakes.balancer import balancing, cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import LAST_CHUNK, ROLE, SSE_HEAD, chunk, token


async def begun(front, replica):
    """A stream under way: the client, its answer so far, and the replica's end of it."""
    asked = asyncio.Queue()
    replica.on_post = lambda connection, request: asked.put_nowait(connection)
    client = await front.client()
    client.send(stream())
    upstream = await asked.get()
    upstream.write(SSE_HEAD, chunk(ROLE))
    answer = await client.head()
    await client.more(answer)
    return client, answer, upstream


def told_of_the_end(answer):
    """A stream that was ended says so, and is not taken for whole."""
    *_, last = answer.events()
    return not answer.complete and last["error"]["code"] == 503


async def refused(front):
    try:
        client = await front.client()
    except OSError:
        return True
    await client.close()
    return False


@on_both_loops
async def test_running_streams_end_whole_and_the_port_is_closed():
    async with cluster() as (front, (replica,)):
        idle = await front.client()
        assert (await idle.ask(chat())).status == 200
        client, answer, upstream = await begun(front, replica)
        async with asyncio.TaskGroup() as group:
            draining = group.create_task(front.balancer.drain())
            assert await idle.closed() == b""
            assert await refused(front)
            assert not draining.done()
            upstream.write(chunk(token("a")), LAST_CHUNK)
            await client.read(answer)
            assert (answer.complete, answer.body) == (True, ROLE + token("a"))
        assert front.idle()


@on_both_loops
async def test_while_readiness_says_no_requests_are_still_taken():
    async with cluster(drain_delay_s=30) as (front, _):
        client = await front.client()
        assert (await client.ask(target="/ready")).status == 200
        draining = asyncio.get_running_loop().create_task(front.balancer.drain())
        await asyncio.sleep(0)
        ready = await client.ask(target="/ready")
        assert (ready.status, ready.json()["status"]) == (503, "draining")
        assert (await front.ask(chat())).status == 200
        assert (await front.ask(target="/health")).status == 200
        draining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await draining


@on_both_loops
async def test_while_draining_every_answer_is_the_last_of_its_connection():
    async with cluster(drain_delay_s=30) as (front, (replica,)):
        plain, streamed, page, refused = [await front.client() for _ in range(4)]
        for client in (plain, streamed, page, refused):
            assert (await client.ask(chat())).get("connection") is None
        draining = asyncio.get_running_loop().create_task(front.balancer.drain())
        await asyncio.sleep(0)
        for client, request in (
            (plain, {"body": chat()}),
            (streamed, {"body": stream()}),
            (page, {"target": "/v1/models"}),
            (refused, {"target": "/nope"}),
        ):
            answer = await client.ask(**request)
            assert (answer.complete, answer.get("connection")) == (True, "close")
            assert await client.closed() == b""
        draining.cancel()
        await asyncio.wait([draining])


@on_both_loops
async def test_what_has_given_nothing_yet_is_told_503():
    async with cluster(drain_timeout_s=0.1) as (front, (replica,)):
        asked = asyncio.Queue()
        replica.on_post = lambda connection, request: asked.put_nowait(connection)
        client = await front.client()
        client.send(chat())
        upstream = await asked.get()
        async with asyncio.timeout(5):
            await front.balancer.drain()
        answer = await client.read()
        assert (answer.status, answer.get("connection"), answer.get("retry-after")) == (503, "close", "1")
        assert answer.json()["error"]["type"] == "ServiceUnavailableError"
        await upstream.closed.wait()
        await until(front.idle)


@on_both_loops
async def test_who_connects_last_is_served():
    async with cluster() as (front, _):
        idle = await front.client()  # its request is still on its way when the port closes
        draining = asyncio.get_running_loop().create_task(front.balancer.drain())
        await until(lambda: not front.balancer.listeners.is_open(front.balancer._server))
        answer = await idle.ask(chat())
        assert (answer.status, answer.get("connection")) == (200, "close")
        await draining


@on_both_loops
async def test_patience_has_its_limit():
    async with cluster(drain_timeout_s=0.2) as (front, (replica,)):
        client, answer, upstream = await begun(front, replica)
        async with asyncio.timeout(5):
            await front.balancer.drain()
            await upstream.closed.wait()
        await client.read(answer)
        assert told_of_the_end(answer)
        await until(front.idle)


@on_both_loops
async def test_a_signal_drains_and_a_second_one_ends_it():
    async with cluster() as (front, (replica,)):
        client, answer, upstream = await begun(front, replica)
        stopping = asyncio.get_running_loop().create_task(until_stopped(front.balancer))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: not front.balancer.listeners.is_open(front.balancer._server))
        upstream.write(chunk(token("a")))
        assert await client.more(answer) == token("a")
        assert not stopping.done()
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(5):
            await stopping
        await front.balancer.close()
        await upstream.closed.wait()
        await client.read(answer)
        assert told_of_the_end(answer)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)


@on_both_loops
async def test_closing_leaves_nothing_open():
    async with cluster(prometheus_port=0) as (front, (replica,)):
        clients = [await front.client(listener=listener) for listener in (0, 1)]
        for client in clients:
            assert (await client.ask(target="/metrics")).status == 200
        assert (await front.ask(chat())).status == 200
        await front.balancer.close()
        async with asyncio.timeout(3):
            for client in clients:
                assert await client.closed() == b""
        await until(lambda: not replica.open)
        assert len(asyncio.all_tasks()) == 1


@async_test
async def test_a_port_that_is_taken_is_an_error_and_not_a_traceback():
    async with cluster() as (front, (replica,)):
        with pytest.raises(OSError):
            async with balancing(replica, port=front.balancer.listeners.ports[0]):
                pass
