"""One client as there are many: keeps its connection, waits with patience, reads slowly or leaves if it means to.

A request that was sent on a kept connection and got no byte before that connection was lost goes out once more on a
fresh one, as every HTTP library does it: closing an idle connection is a server's right (RFC 9112, 9.3.1).
"""

import asyncio
import socket
import time
from dataclasses import dataclass, field

from benchmarks.chaos.traffic import Ask
from benchmarks.chaos.verdict import Seen
from benchmarks.load.connection import Connection, End, Idle

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


class ChaosConnection(Connection):
    def __init__(self) -> None:
        super().__init__()
        self._reply = Reply()
        self._ask: Ask | None = None

    async def exchange(self, ask: Ask, wire: bytes, patience_s: float, reply: Reply) -> None:
        """Fills `reply` as bytes come, until the answer ends, or the connection, or the client's patience."""
        self._ask, self._reply = ask, reply
        began_s = reply.heard_s = time.monotonic()
        ended = self.send(wire)
        leave = None
        if ask.leaves_after_s is not None:
            leave = self.loop.call_later(ask.leaves_after_s, self.finish, End.LEFT)
        try:
            while not ended.done():
                latest_s = min(reply.heard_s + patience_s, began_s + _MOST_PATIENCES * patience_s)
                left_s = latest_s - time.monotonic()
                if left_s <= 0:
                    self.finish(End.SILENT)
                    break
                await asyncio.wait([ended], timeout=left_s)
        finally:
            if leave is not None:
                leave.cancel()
            if ask.slow or not self.usable:
                self.abort()

    def data_received(self, data: bytes) -> None:
        self._reply.heard_s = time.monotonic()
        super().data_received(data)
        ask, transport = self._ask, self.transport
        if ask is not None and ask.slow and transport is not None and not transport.is_closing():
            transport.pause_reading()
            self.loop.call_later(_SLOW_PAUSE_S, _read_on, transport)

    def on_headers_complete(self) -> None:
        self._reply.status = self.parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        reply, ask = self._reply, self._ask
        reply.body += data
        if reply.first_data_s is None and ask is not None and ask.stream and b"data:" in reply.body:
            reply.first_data_s = reply.heard_s
        wanted = None if ask is None else ask.leaves_after_events
        if wanted is not None and reply.body.count(b"data:") > wanted:
            self.finish(End.LEFT)

    def on_end(self, end: End, why: str) -> None:
        self._reply.end = end


def _read_on(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.resume_reading()


class Client:
    """All clients of one address: idle connections are reused."""

    def __init__(self, port: int, patience_s: float, host: str = "127.0.0.1") -> None:
        self._address = (host, port)
        self._patience_s = patience_s
        self._idle: Idle[ChaosConnection] = Idle()

    async def ask(self, ask: Ask) -> Reply:
        wire = self._head(ask) + ask.body
        connection = None if ask.slow else self._idle.take()
        if connection is not None:
            reply = Reply()
            await connection.exchange(ask, wire, self._patience_s, reply)
            if reply.end is not End.LOST or reply.status is not None:
                self._idle.keep(connection)
                return reply
        reply = Reply()
        try:
            connection = await self._open(slow=ask.slow)
        except OSError:
            reply.end = End.LOST
            return reply
        await connection.exchange(ask, wire, self._patience_s, reply)
        self._idle.keep(connection)
        return reply

    def close(self) -> None:
        self._idle.close()

    async def _open(self, *, slow: bool) -> ChaosConnection:
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
        _, connection = await loop.create_connection(ChaosConnection, sock=peer)
        return connection

    def _head(self, ask: Ask) -> bytes:
        host, port = self._address
        return (
            f"POST {ask.path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: */*\r\nAuthorization: Bearer EMPTY\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(ask.body)}\r\n\r\n"
        ).encode()
