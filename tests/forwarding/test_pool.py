import asyncio
from typing import cast

import pytest

from balancer.forwarding.client import ClientSide
from balancer.forwarding.ended import Ended, Signal
from balancer.forwarding.exchange import Exchange
from balancer.forwarding.pool import ConnectionPool, UpstreamLimits
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import Replica, silent
from tests.fakes.transport import Loop, Transport


class Clock:
    """A loop whose clock the test moves."""

    def __init__(self):
        self.ahead_s = 0.0
        self._loop = asyncio.get_running_loop()

    def time(self):
        return self._loop.time() + self.ahead_s

    def __getattr__(self, name):
        return getattr(self._loop, name)


class Upstream:
    """A pool in front of one fake replica."""

    def __init__(self, replica, **limits):
        self.clock = Clock()
        self.pool = ConnectionPool(replica.url, UpstreamLimits(**limits), self.clock)

    async def ask(self, connection=None):
        """One exchange, on an idle connection if there is one."""
        connection = connection or self.pool.take() or await self.pool.connect()
        side = ClientSide(cast("asyncio.Transport", Transport()), asyncio.Event().wait, True, True)
        exchange = Exchange(side, asyncio.get_running_loop(), lambda at_s: None)
        connection.send(b"POST /x HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"", exchange)
        assert await exchange.waiting() is Signal.ENDED
        return exchange, connection


@on_both_loops
async def test_a_connection_is_used_again_while_it_is_fresh():
    replica = await Replica().start()
    upstream = Upstream(replica, keepalive_s=4)
    for _ in range(3):
        await upstream.ask()
    assert len(replica.connections) == 1
    upstream.clock.ahead_s += 4.5
    await upstream.ask()
    assert len(replica.connections) == 2
    await replica.connections[0].closed.wait()
    upstream.pool.close()
    await replica.stop()


@async_test
async def test_the_newest_is_used_first_and_the_rest_is_swept():
    replica = await Replica().start()
    upstream = Upstream(replica, keepalive_s=4)
    first, second = [await upstream.pool.connect() for _ in range(2)]
    await upstream.ask(first)
    upstream.clock.ahead_s += 2
    await upstream.ask(second)
    upstream.clock.ahead_s += 3
    upstream.pool.sweep()
    await replica.connections[0].closed.wait()
    assert upstream.pool.take() is second
    second.abort()
    await replica.stop()


@async_test
async def test_a_connection_that_the_replica_closed_while_idle_is_not_used():
    replica = await Replica().start()
    upstream = Upstream(replica)
    _, connection = await upstream.ask()
    replica.connections[0].fin()
    await until(lambda: connection.closed)
    assert upstream.pool.take() is None
    upstream.pool.close()
    await replica.stop()


@async_test
async def test_a_connection_in_use_when_the_pool_closes_closes_when_it_is_done():
    replica = await Replica().start()
    replica.on_post = silent
    upstream = Upstream(replica)
    asking = asyncio.gather(upstream.ask())
    await until(lambda: replica.posts)
    upstream.pool.close()
    assert replica.open
    replica.connections[0].respond(200, {})
    ((exchange, _),) = await asking
    assert exchange.ended is Ended.ANSWERED
    await replica.connections[0].closed.wait()
    await replica.stop()


@on_both_loops
async def test_a_refused_connection_is_an_os_error():
    replica = await Replica().start()
    await replica.stop()
    with pytest.raises(OSError):
        await Upstream(replica).pool.connect()


@pytest.mark.parametrize(
    ("url", "host", "prefix"),
    [
        ("http://replica:8000", b"replica:8000", b""),
        ("http://user@replica:8000/a/b/", b"replica:8000", b"/a/b"),
        ("http://[::1]:8000", b"[::1]:8000", b""),
        ("https://replica", b"replica", b""),
    ],
)
def test_what_a_url_says(url, host, prefix):
    pool = ConnectionPool(url, UpstreamLimits(), cast("asyncio.AbstractEventLoop", Loop()))
    assert (pool.host_header, pool.path_prefix) == (host, prefix)
