"""One client as there are many: keeps its connection, waits with patience, reads slowly or leaves if it means to.

A request that was sent on a kept connection and got no byte before that connection was lost goes out once more on a
fresh one, as every HTTP library does it: closing an idle connection is a server's right (RFC 9112, 9.3.1).
"""

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import httptools

from benchmarks.chaos.traffic import Ask
from benchmarks.chaos.verdict import End, Seen

_SLOW_PAUSE_S = 0.25
_SLOW_BUFFER_BYTES = 4096
_MOST_PATIENCES = 6
"""Comments keep a patient client waiting, but not for ever."""


@dataclass(slots=True)
class Reply:
    """What has come so far; times are of `time.monotonic`."""

    end: End | None = None
    status: int | None = None
    body: bytearray = field(default_factory=bytearray)
    first_data_s: float | None = None
    heard_s: float = 0.0

    def seen(self) -> Seen:
        assert self.end is not None
        return Seen(self.end, self.status, bytes(self.body))


class Connection(asyncio.Protocol):
    """One request at a time; the names of callbacks are httptools' own."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._reply = Reply()
        self._ask: Ask | None = None
        self._ended: asyncio.Future[None] | None = None
        self.usable = False

    async def exchange(self, ask: Ask, wire: bytes, patience_s: float, reply: Reply) -> None:
        """Fills `reply` as bytes come, until the answer ends, or the connection, or the client's patience."""
        assert self._transport is not None
        self.usable = False
        self._ask, self._reply = ask, reply
        self._ended = self._loop.create_future()
        began_s = reply.heard_s = time.monotonic()
        self._transport.write(wire)
        leave = None
        if ask.leaves_after_s is not None:
            leave = self._loop.call_later(ask.leaves_after_s, self._end, End.LEFT)
        try:
            while not self._ended.done():
                latest_s = min(reply.heard_s + patience_s, began_s + _MOST_PATIENCES * patience_s)
                left_s = latest_s - time.monotonic()
                if left_s <= 0:
                    self._end(End.SILENT)
                    break
                await asyncio.wait([self._ended], timeout=left_s)
        finally:
            if leave is not None:
                leave.cancel()
            if not self.usable:
                self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        self._reply.heard_s = time.monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._end(End.LOST)
            return
        ask, transport = self._ask, self._transport
        if ask is not None and ask.slow and transport is not None and not transport.is_closing():
            transport.pause_reading()
            self._loop.call_later(_SLOW_PAUSE_S, _read_on, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._end(End.LOST)

    def on_headers_complete(self) -> None:
        self._reply.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        reply, ask = self._reply, self._ask
        reply.body += data
        if reply.first_data_s is None and ask is not None and ask.stream and b"data:" in reply.body:
            reply.first_data_s = reply.heard_s
        wanted = None if ask is None else ask.leaves_after_events
        if wanted is not None and reply.body.count(b"data:") > wanted:
            self._end(End.LEFT)

    def on_message_complete(self) -> None:
        if self._end(End.COMPLETE):
            self.usable = self._parser.should_keep_alive() and not (self._ask and self._ask.slow)

    def _end(self, end: End) -> bool:
        if self._ended is None or self._ended.done():
            return False
        self._reply.end = end
        self._ended.set_result(None)
        return True


def _read_on(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.resume_reading()


class Client:
    """All clients of one address: idle connections are reused, last in first out."""

    def __init__(self, port: int, patience_s: float, host: str = "127.0.0.1") -> None:
        self._address = (host, port)
        self._patience_s = patience_s
        self._idle: list[Connection] = []

    async def ask(self, ask: Ask) -> Reply:
        wire = self._head(ask) + ask.body
        connection = None if ask.slow else self._reuse()
        if connection is not None:
            reply = Reply()
            await connection.exchange(ask, wire, self._patience_s, reply)
            if reply.end is not End.LOST or reply.status is not None:
                return self._keep(connection, reply)
        reply = Reply()
        try:
            connection = await self._open(slow=ask.slow)
        except OSError:
            reply.end = End.LOST
            return reply
        await connection.exchange(ask, wire, self._patience_s, reply)
        return self._keep(connection, reply)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _keep(self, connection: Connection, reply: Reply) -> Reply:
        if connection.usable:
            self._idle.append(connection)
        return reply

    def _reuse(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def _open(self, *, slow: bool) -> Connection:
        loop = asyncio.get_running_loop()
        peer = socket.socket()
        try:
            peer.setblocking(False)
            if slow:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER_BYTES)
            await loop.sock_connect(peer, self._address)
        except BaseException:
            peer.close()
            raise
        make: Callable[[], Connection] = Connection
        _, connection = await loop.create_connection(make, sock=peer)
        return connection

    def _head(self, ask: Ask) -> bytes:
        host, port = self._address
        return (
            f"POST {ask.path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: */*\r\nAuthorization: Bearer EMPTY\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(ask.body)}\r\n\r\n"
        ).encode()
