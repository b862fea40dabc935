"""One HTTP/1.1 client connection and a pool of them, cheap enough to load a proxy from one core.

Every answer is checked against what was expected of it: status, body length, last bytes. A wrong answer is an
answer with an error, never an exception, because errors are figures here.
"""

import asyncio
import time
from dataclasses import dataclass

from benchmarks.load.connection import Connection, End, Idle

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


class LoadConnection(Connection):
    def __init__(self) -> None:
        super().__init__()
        self._expected = Expected(0)
        self._answer = Answer(0.0)
        self._tail = b""

    async def ask(self, request: Request, answer: Answer) -> None:
        """Send, and fill `answer` as bytes come; returns when it is complete or has failed."""
        self._answer, self._expected, self._tail = answer, request.expected, b""
        try:
            await self.send(request.wire)
        except asyncio.CancelledError:
            self.abort()
            raise

    def data_received(self, data: bytes) -> None:
        self._answer.reads += 1
        super().data_received(data)

    def on_body(self, data: bytes) -> None:
        answer = self._answer
        if answer.first_s is None:
            answer.first_s = time.monotonic()
        answer.body_bytes += len(data)
        self._tail = (self._tail + data)[-_TAIL_BYTES:]

    def on_end(self, end: End, why: str) -> None:
        answer = self._answer
        answer.error = self._fault(self.parser.get_status_code()) if end is End.COMPLETE else why
        answer.ended_s = time.monotonic()

    def _fault(self, status: int) -> str | None:
        if status != 200:
            return f"status {status}"
        if self._answer.body_bytes != self._expected.body_bytes:
            return "wrong length"
        if not self._tail.endswith(self._expected.ends_with):
            return "wrong end"
        return None


class Client:
    """Connections to one address: idle ones are reused, and new ones opened when none is."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._host, self._port = host, port
        self._idle: Idle[LoadConnection] = Idle()

    async def connect(self, count: int) -> None:
        """Open `count` idle connections ahead of the load."""
        for _ in range(count):
            self._idle.keep(await self._open())

    async def ask(self, request: Request, answer: Answer | None = None) -> Answer:
        """The answer, with an error where none came. `answer` lets a caller watch it grow."""
        answer = Answer(time.monotonic()) if answer is None else answer
        try:
            connection = self._idle.take() or await self._open()
        except OSError as error:
            answer.error = f"cannot connect: {error.strerror}"
            return answer
        await connection.ask(request, answer)
        self._idle.keep(connection)
        return answer

    def close(self) -> None:
        self._idle.close()

    async def _open(self) -> LoadConnection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(LoadConnection, self._host, self._port)
        return connection
