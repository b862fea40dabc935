import asyncio
from typing import cast

import pytest

from balancer.forwarding.client import ClientSide, Outgoing
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
        ("https://replica:443/v1", b"replica", b"/v1"),
        ("http://replica:80", b"replica", b""),
        ("http://replica:443", b"replica:443", b""),
    ],
)
def test_what_a_url_says(url, host, prefix):
    pool = pool_for(url)
    assert (pool.host_header, pool.target(b"/v1/chat")) == (host, prefix + b"/v1/chat")


@pytest.mark.parametrize(
    ("url", "asked", "there"),
    [
        ("https://api.test", b"/v1/chat/completions", b"/v1/chat/completions"),
        ("https://api.test/v1", b"/v1/chat/completions", b"/v1/chat/completions"),
        ("https://api.test/v1/", b"/v1/models?a=/v1/", b"/v1/models?a=/v1/"),
        ("https://api.test/v1beta/openai", b"/v1/chat/completions", b"/v1beta/openai/chat/completions"),
        ("https://api.test/openai/v1", b"/v1/embeddings", b"/openai/v1/embeddings"),
        ("https://api.test/openai/v1", b"/rerank", b"/openai/rerank"),
    ],
)
def test_a_providers_path_is_a_base_as_clients_of_openai_know_it(url, asked, there):
    assert pool_for(url, external=True).target(asked) == there


def test_a_provider_is_told_nothing_of_who_asks():
    sent = [
        (b"Authorization", b"Bearer client"), (b"X-Api-Key", b"client"), (b"Cookie", b"a=b"), (b"X-Team", b"blue"),
        (b"X-Forwarded-For", b"10.0.0.1"), (b"Accept-Encoding", b"gzip"), (b"traceparent", b"00-1-1-01"),
        (b"X-Session-Id", b"s"), (b"Content-Type", b"application/json"), (b"X-Request-Id", b"7"),
    ]  # fmt: skip
    request = Outgoing(b"POST", b"/v1/chat/completions", sent, b"{}")
    with_key = pool_for("https://api.test/v1", external=True, authorization=b"Bearer ours").head(request)
    assert with_key == (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/json\r\n"
        b"X-Request-Id: 7\r\nAuthorization: Bearer ours\r\nContent-Length: 2\r\n\r\n"
    )
    without = pool_for("https://api.test/v1", external=True).head(request)
    assert without == with_key.replace(b"Authorization: Bearer ours\r\n", b"")


def pool_for(url, **of_provider):
    return ConnectionPool(url, UpstreamLimits(), cast("asyncio.AbstractEventLoop", Loop()), **of_provider)
