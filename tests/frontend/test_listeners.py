import asyncio
import socket

import pytest
from aiohttp import web

from balancer.frontend.listeners import Listeners
from tests.fakes.client import LOOPBACK
from tests.fakes.loops import async_test, on_both_loops


async def answer(request):
    return web.Response(text="here")


def queued(port, count):
    """Connections that the kernel has taken in and the event loop has not seen yet, each with its request."""
    clients = []
    for _ in range(count):
        client = socket.create_connection((LOOPBACK, port))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        clients.append(client)
    return clients


async def all_served(clients):
    for client in clients:
        client.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=client)
        async with asyncio.timeout(5):
            assert (await reader.read()).endswith(b"here")
        writer.close()


@on_both_loops
async def test_who_is_queued_when_the_port_closes_is_served():
    listeners, server = Listeners(), web.Server(answer)
    port = await listeners.open(server, LOOPBACK, 0)
    clients = queued(port, 20)
    await listeners.close(server)
    assert not listeners.is_open(server)
    with pytest.raises(OSError):
        socket.create_connection((LOOPBACK, port)).close()
    await all_served(clients)
    await server.shutdown(0.1)


@async_test
async def test_an_address_that_is_taken_is_named():
    listeners, server = Listeners(), web.Server(answer)
    port = await listeners.open(server, LOOPBACK, 0)
    with pytest.raises(OSError, match=f"{LOOPBACK}:{port}: "):
        await listeners.open(web.Server(answer), LOOPBACK, port)
    await listeners.close()
    await listeners.close()


@on_both_loops
async def test_two_processes_worth_of_listeners_share_a_port():
    first, second, server = Listeners(), Listeners(), web.Server(answer)
    port = await first.open(server, LOOPBACK, 0, reuse_port=True)
    assert await second.open(server, LOOPBACK, port, reuse_port=True) == port
    clients = queued(port, 20)
    await first.close()
    await second.close()
    await all_served(clients)
    await server.shutdown(0.1)
