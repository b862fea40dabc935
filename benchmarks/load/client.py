"""One HTTP/1.1 client connection and a pool of them, cheap enough to load a proxy from one core.

Every answer is checked against what was expected of it: status, body length, last bytes. A wrong answer is an
answer with an error, never an exception, because errors are figures here.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import cast

import httptools

_TAIL_BYTES = 64


@dataclass(frozen=True, slots=True)
class Expected:
    body_bytes: int
    ends_with: bytes = b""


@dataclass(frozen=True, slots=True)
class Request:
    """The bytes to send, head and body, and the answer that is right."""

    wire: bytes
    expected: Expected


@dataclass(slots=True)
class Answer:
    """What came back so far. Times are of `time.monotonic`; `intended_s` is when the request ought to leave."""

    intended_s: float
    first_s: float | None = None
    ended_s: float | None = None
    body_bytes: int = 0
    reads: int = 0
    error: str | None = None


def post(path: str, host: str, body: bytes, expected: Expected) -> Request:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nUser-Agent: vllm-balancer-bench\r\n"
        f"Authorization: Bearer EMPTY\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return Request(head.encode() + body, expected)


class Connection(asyncio.Protocol):
    """One request at a time; the name of a callback is httptools' own."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Answer] | None = None
        self._expected = Expected(0)
        self._answer = Answer(0.0)
        self._tail = b""
        self.usable = False

    async def ask(self, request: Request, answer: Answer) -> None:
        """Send, and fill `answer` as bytes come; returns when it is complete or has failed."""
        if self._transport is None or not self.usable:
            raise RuntimeError("ask: expected a usable connection")
        self.usable = False
        self._answer, self._expected, self._tail = answer, request.expected, b""
        self._waiter = self._loop.create_future()
        self._transport.write(request.wire)
        try:
            await self._waiter
        except asyncio.CancelledError:
            self._waiter = None
            self._transport.abort()
            raise

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        self._answer.reads += 1
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"not HTTP: {error}")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._end("connection lost")

    def on_body(self, data: bytes) -> None:
        answer = self._answer
        if answer.first_s is None:
            answer.first_s = time.monotonic()
        answer.body_bytes += len(data)
        self._tail = (self._tail + data)[-_TAIL_BYTES:]

    def on_message_complete(self) -> None:
        self.usable = self._parser.should_keep_alive()
        self._end(self._fault(self._parser.get_status_code()))
        if not self.usable:
            self.close()

    def _fault(self, status: int) -> str | None:
        if status != 200:
            return f"status {status}"
        if self._answer.body_bytes != self._expected.body_bytes:
            return "wrong length"
        if not self._tail.endswith(self._expected.ends_with):
            return "wrong end"
        return None

    def _end(self, error: str | None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        self._answer.error = error
        self._answer.ended_s = time.monotonic()
        waiter.set_result(self._answer)


class Client:
    """Connections to one address: idle ones are reused, last in first out, and new ones opened when none is."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._host, self._port = host, port
        self._idle: list[Connection] = []

    async def connect(self, count: int) -> None:
        """Open `count` idle connections ahead of the load."""
        self._idle.extend([await self._open() for _ in range(count)])

    async def ask(self, request: Request, answer: Answer | None = None) -> Answer:
        """The answer, with an error where none came. `answer` lets a caller watch it grow."""
        answer = Answer(time.monotonic()) if answer is None else answer
        try:
            connection = self._reuse() or await self._open()
        except OSError as error:
            answer.error = f"cannot connect: {error.strerror}"
            return answer
        await connection.ask(request, answer)
        if connection.usable:
            self._idle.append(connection)
        return answer

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _reuse(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, self._host, self._port)
        return connection
