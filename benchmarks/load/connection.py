"""What all clients of one HTTP/1.1 connection share: one request at a time, kept alive, answers parsed as bytes come."""

import asyncio
from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Generic, TypeVar, cast

import httptools


class End(StrEnum):
    """How the exchange ended, as HTTP sees it."""

    COMPLETE = "complete"
    LOST = "lost"  # the connection, before the message was complete
    SILENT = "silent"  # not complete when the client's patience ended
    LEFT = "left"  # the client went away, as it had meant to


class Connection(asyncio.Protocol, ABC):
    """The names of callbacks are httptools' own. A subclass adds those it needs, and `on_end`."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.parser = httptools.HttpResponseParser(self)
        self.transport: asyncio.Transport | None = None
        self.usable = False
        self._ended: asyncio.Future[None] | None = None

    def send(self, wire: bytes) -> asyncio.Future[None]:
        """The future is done when `on_end` has been told how the exchange ended."""
        if self.transport is None or not self.usable:
            raise RuntimeError("send: expected a usable connection")
        self.usable = False
        self._ended = self.loop.create_future()
        self.transport.write(wire)
        return self._ended

    def finish(self, end: End, why: str = "") -> bool:
        """End the exchange that is under way, if there is one; whether there was."""
        ended, self._ended = self._ended, None
        if ended is None or ended.done():
            return False
        self.on_end(end, why)
        ended.set_result(None)
        return True

    @abstractmethod
    def on_end(self, end: End, why: str) -> None: ...

    def close(self) -> None:
        self.usable = False
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        self.usable = False
        self._ended = None
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.finish(End.LOST, f"not HTTP: {error}")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self.finish(End.LOST, "connection lost")

    def on_message_complete(self) -> None:
        self.usable = self.finish(End.COMPLETE) and self.parser.should_keep_alive()
        if not self.usable:
            self.close()


_C = TypeVar("_C", bound=Connection)


class Idle(Generic[_C]):
    """Connections to one address that wait for their next request; the last one in is the first one out."""

    def __init__(self) -> None:
        self._waiting: list[_C] = []

    def take(self) -> _C | None:
        """One that its server has not closed meanwhile."""
        while self._waiting:
            connection = self._waiting.pop()
            if connection.usable:
                return connection
        return None

    def keep(self, connection: _C) -> None:
        if connection.usable:
            self._waiting.append(connection)

    def close(self) -> None:
        while self._waiting:
            self._waiting.pop().close()
