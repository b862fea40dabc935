"""Listening sockets, and their closing, which loses nobody: who stands in the queue by then is still let in.

A connection belongs to a socket's queue once the kernel has finished its handshake, and closing the socket resets what is
queued, even if another process listens on the same port (SO_REUSEPORT). So the queue is emptied after the event loop has let
go of the socket, and right before the last reference to it goes. What arrives between the two system calls is lost, unless
Linux hands it on (5.14 and newer, net.ipv4.tcp_migrate_req=1).
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator

from aiohttp import web

BACKLOG = 4096
HANDSHAKE_TIMEOUT_S = 5.0


class Listeners:
    """The sockets of this process, each with the server that answers on it."""

    def __init__(self) -> None:
        self._open: dict[web.Server, tuple[asyncio.Server, ssl.SSLContext | None]] = {}
        self.ports: list[int] = []

    async def open(
        self,
        server: web.Server,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> int:
        """The port, which is another one if 0 was asked for.

        Raises: OSError, if the address is taken or not ours.
        """
        loop = asyncio.get_running_loop()
        try:
            listening = await loop.create_server(
                server,
                host,
                port,
                ssl=tls,
                backlog=BACKLOG,
                reuse_address=True,
                reuse_port=reuse_port or None,
            )
        except OSError as error:
            raise OSError(error.errno, f"{host}:{port}: {error.strerror or error}") from error
        self._open[server] = listening, tls
        self.ports.append(int(listening.sockets[0].getsockname()[1]))
        return self.ports[-1]

    def is_open(self, server: web.Server) -> bool:
        return server in self._open

    async def close(self, *servers: web.Server) -> None:
        """Stop listening for these, or for all. Who is queued by then is let in."""
        for server in servers or list(self._open):
            if server in self._open:
                await self._close(server, *self._open.pop(server))

    async def _close(self, server: web.Server, listening: asyncio.Server, tls: ssl.SSLContext | None) -> None:
        doubles = [socket.fromfd(each.fileno(), each.family, each.type) for each in listening.sockets]
        listening.close()
        queued: list[socket.socket] = []
        for double in doubles:
            queued += _queued(double)
            double.close()
        loop = asyncio.get_running_loop()
        timeout_s = None if tls is None else HANDSHAKE_TIMEOUT_S
        letting_in = (
            loop.connect_accepted_socket(server, each, ssl=tls, ssl_handshake_timeout=timeout_s)
            for each in queued
        )
        await asyncio.gather(*letting_in, return_exceptions=True)


def _queued(listening: socket.socket) -> Iterator[socket.socket]:
    listening.setblocking(False)
    with contextlib.suppress(OSError):
        while True:
            accepted, _ = listening.accept()
            accepted.setblocking(False)
            yield accepted
