"""One keep-alive connection to a replica, which carries one exchange at a time.

An asyncio.Protocol on httptools (llhttp). The parser tells where the answer begins and ends and what is in it;
what goes to the client are the bytes themselves.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import cast

import httptools

from balancer.forwarding.ended import Ended
from balancer.forwarding.exchange import Exchange

MAX_HEAD_BYTES = 256 * 1024


class Connection(asyncio.Protocol):
    __slots__ = (
        "_complete",
        "_exchange",
        "_head",
        "_keep_alive",
        "_loop",
        "_messages",
        "_parser",
        "_timer",
        "closed",
        "connected_s",
        "first_byte_timeout_s",
        "idle_since",
        "idle_timeout_s",
        "on_idle",
        "transport",
        "uses",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, on_idle: Callable[["Connection"], None]) -> None:
        self._loop = loop
        self.on_idle = on_idle
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._head: bytes | None = b""
        self._messages = 0
        self._complete = False
        self._keep_alive = False
        self._timer: asyncio.TimerHandle | None = None
        self.first_byte_timeout_s: float | None = None
        self.idle_timeout_s: float | None = None
        self.closed = False
        self.uses = 0
        self.connected_s = 0.0  # how long that took
        self.idle_since = 0.0

    def send(self, head: bytes, body: bytes, exchange: Exchange) -> None:
        """Start an exchange. The connection must be idle."""
        assert self._exchange is None
        self._exchange = exchange
        self._head = b""
        self._messages = 0
        self._complete = False
        if not self.uses:
            exchange.timing.connected_s = self.connected_s
        self.uses += 1
        exchange.timing.sent_at = monotonic()
        if self.first_byte_timeout_s is not None:
            self._arm(self.first_byte_timeout_s, Ended.SLOW_FIRST_BYTE)
        if len(body) <= 64 * 1024:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))

    def resume(self, exchange: Exchange) -> None:
        """The exchange's client has caught up: read on, if this is still its connection."""
        if self._exchange is exchange and exchange.congested:
            exchange.congested = False
            if not self.closed:
                self.transport.resume_reading()
                if self.idle_timeout_s is not None:
                    self._arm(self.idle_timeout_s, Ended.SLOW_IDLE)

    def abort(self, how: Ended = Ended.CANCELLED) -> None:
        """Close at once: the replica sees it and frees what the request held."""
        exchange, self._exchange = self._exchange, None
        self._disarm()
        if exchange is not None:
            exchange.end(how)
        if not self.closed:
            self.closed = True
            self.transport.abort()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._disarm()
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            self.on_idle(self)
            return
        if exchange.delimited_by_close and exc is None:
            exchange.on_bytes(b"", complete=True)
        elif self.uses > 1 and exchange.timing.begun_at is None:
            exchange.end(Ended.STALE)
        else:
            exchange.end(Ended.BROKEN)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:  # nobody asked: not a connection to trust
            self.closed = True
            self.transport.abort()
            return
        exchange.heard_at = self._loop.time()
        if self._head is not None:
            if exchange.timing.begun_at is None:
                exchange.timing.begun_at = monotonic()
            split = self._split_head(data)
            if split is None:
                if self._timer is None and self.idle_timeout_s is not None and not self.closed:
                    self._arm(self.idle_timeout_s, Ended.SLOW_IDLE)
                return
            data, raw = split
        else:
            raw = data
        if self._timer is not None:
            self._disarm()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort(Ended.GARBLED)
            return
        if self._messages > 1:  # more than the one answer: where it ends is not to be trusted
            self.abort(Ended.GARBLED)
            return
        exchange.on_bytes(raw, complete=self._complete)
        if self._complete:
            self._finish()
        elif exchange.ended is not None:  # it said itself that no more will come
            self.abort(exchange.ended)
        elif exchange.congested:
            self.transport.pause_reading()
        elif self.idle_timeout_s is not None:
            self._arm(self.idle_timeout_s, Ended.SLOW_IDLE)

    # -- httptools

    def on_message_begin(self) -> None:
        self._messages += 1

    def on_status(self, reason: bytes) -> None:
        if self._exchange is not None:
            self._exchange.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if (
            self._exchange is not None and not self._exchange.status
        ):  # else it is a trailer, which passes in its bytes
            self._exchange.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._exchange is not None and not self._complete:
            self._exchange.on_head(self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        if self._exchange is not None and not self._complete:
            self._exchange.on_body(body)

    def on_message_complete(self) -> None:
        self._complete = True
        self._keep_alive = self._parser.should_keep_alive()

    # -- inside

    def _split_head(self, data: bytes) -> tuple[bytes, bytes] | None:
        """What to parse, and the body bytes in it; None while the head is not whole. Interim answers (1xx) end here."""
        data = self._head + data if self._head else data
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._head = data
                if len(data) > MAX_HEAD_BYTES or not b"HTTP/1.".startswith(data[:7]):
                    self.abort(Ended.GARBLED)
                return None
            if data[9:10] != b"1":
                self._head = None
                return data, data[end + 4 :]
            data = data[end + 4 :]

    def _finish(self) -> None:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        if self.closed or not self._keep_alive or self.transport.is_closing():
            self.closed = True
            self.transport.close()
            return
        if exchange.congested:
            exchange.congested = False
            self.transport.resume_reading()
        self.idle_since = self._loop.time()
        self.on_idle(self)

    def _arm(self, timeout_s: float, how: Ended) -> None:
        self._timer = self._loop.call_later(timeout_s, self.abort, how)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
