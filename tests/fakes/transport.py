"""An upstream connection and a client without sockets: bytes in at any split, bytes out to look at."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from balancer.forwarding.client import ClientSide
from balancer.forwarding.connection import Connection
from balancer.forwarding.exchange import WHOLE, Exchange, Leg
from balancer.forwarding.timing import Gaps


class Transport:
    """What a transport is to its protocol. Its peer takes everything at once, until `stuck_bytes` says otherwise."""

    def __init__(self) -> None:
        self.written = b""
        self.stuck_bytes = 0
        self.closed = self.aborted = self.paused = False

    def write(self, data: bytes) -> None:
        assert not self.is_closing()
        self.written += data

    def writelines(self, pieces: Iterable[bytes]) -> None:
        self.write(b"".join(pieces))

    def get_write_buffer_size(self) -> int:
        return self.stuck_bytes

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


@dataclass
class Timer:
    due: float
    call: Callable[[], Any]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Loop:
    """The clock is the test's."""

    now: float = 1000.0
    timers: list[Timer] = field(default_factory=list)
    _futures: asyncio.AbstractEventLoop | None = None

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[..., Any], *arguments: Any) -> Timer:
        self.timers.append(Timer(self.now + delay, lambda: call(*arguments)))
        return self.timers[-1]

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer.due <= self.now]
        self.timers = [timer for timer in self.timers if timer.due > self.now]
        for timer in due:
            if not timer.cancelled:
                timer.call()

    def create_future(self) -> Any:
        """Good for one question: whether it is done."""
        return Promise()


class Promise:
    value: Any = None

    def done(self) -> bool:
        return self.value is not None

    def set_result(self, value: Any) -> None:
        assert self.value is None
        self.value = value


class Bench:
    """One upstream connection, and as many exchanges with clients as a test asks for."""

    def __init__(
        self, *, first_byte_timeout_s: float | None = None, idle_timeout_s: float | None = None
    ) -> None:
        self.loop = Loop()
        self.idle: list[Connection] = []
        self.upstream = Transport()
        self.connection = Connection(cast("asyncio.AbstractEventLoop", self.loop), self.idle.append)
        self.connection.first_byte_timeout_s = first_byte_timeout_s
        self.connection.idle_timeout_s = idle_timeout_s
        self.connection.connection_made(cast("asyncio.Transport", self.upstream))
        self.tokens = 0  # how often it was told of a first one

    def ask(
        self,
        *,
        http11: bool = True,
        keep_alive: bool = True,
        body: bytes = b"",
        leg: Leg = WHOLE,
        gaps: Gaps | None = None,
    ) -> tuple[Exchange, Transport]:
        client = Transport()

        async def drain() -> None:
            raise AssertionError("nobody waits here")

        side = ClientSide(cast("asyncio.Transport", client), drain, http11, keep_alive)
        loop = cast("asyncio.AbstractEventLoop", self.loop)
        exchange = Exchange(side, loop, self._on_token, leg=leg, gaps=gaps)
        self.connection.send(b"POST / HTTP/1.1\r\n\r\n", body, exchange)
        return exchange, client

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            if not self.upstream.is_closing():
                self.connection.data_received(piece)

    def lose(self, error: Exception | None = None) -> None:
        """The replica closes: FIN, or with an error RST."""
        self.connection.connection_lost(error)

    def _on_token(self, at_s: float) -> None:
        self.tokens += 1


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    """`data` in pieces, none of them empty."""
    edges = [0, *sorted({edge for edge in at if 0 < edge < len(data)}), len(data)]
    return [data[start:end] for start, end in zip(edges, edges[1:], strict=False)]


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@dataclass
class Message:
    """A response as a client decodes it; `surplus` is what came behind its end."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    whole: bool
    surplus: bytes = b""

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]


def decoded(raw: bytes) -> Message:
    head, separator, rest = raw.partition(b"\r\n\r\n")
    assert separator, raw
    first, *lines = head.split(b"\r\n")
    status = int(first.split(b" ")[1])
    headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    message = Message(status, headers, b"", whole=False)
    length, framing = message.all(b"content-length"), message.all(b"transfer-encoding")
    assert len(length) + len(framing) <= 1, headers
    if status in {204, 304}:
        message.whole, message.surplus = True, rest
    elif length:
        size = int(length[0])
        message.body, message.surplus, message.whole = rest[:size], rest[size:], len(rest) >= size
    elif framing:
        _dechunk(rest, message)
    else:
        message.body, message.whole = rest, True
    return message


def _dechunk(rest: bytes, message: Message) -> None:
    while True:
        line, separator, rest = rest.partition(b"\r\n")
        if not separator:
            return
        size = int(line.split(b";")[0], 16)
        if size == 0:
            trailers = b""
            while not (b"\r\n" + trailers).endswith(b"\r\n\r\n"):
                line, separator, rest = rest.partition(b"\r\n")
                if not separator:
                    return
                trailers += line + separator
            message.whole, message.surplus = True, rest
            return
        message.body += rest[:size]
        if len(rest) < size + 2:
            return
        assert rest[size : size + 2] == b"\r\n"
        rest = rest[size + 2 :]
