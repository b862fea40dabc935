"""A backend that costs almost nothing: vLLM's routes and shapes, no model. `python -m benchmarks.backend --port P`.

A body with `"stream": true` is answered with `max_tokens` events (128 if not said), each an HTTP chunk and a write of
its own. The first leaves at once; the others as a wheel of slots turns. One slot is an engine that gives every running
request a token in each step. Many slots spread a rate evenly over many streams, so that how events arrive depends on
the rate alone and not on how many streams share it. With `"ignore_eos": true` no wheel is waited for: an event leaves in
each turn of the event loop.
"""

import argparse
import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from typing import cast

import httptools
import uvloop

from benchmarks import wire
from benchmarks.load.ticker import ticking

_MAX_TOKENS = re.compile(rb'"max_tokens":\s*(\d+)')
_STREAM = re.compile(rb'"stream":\s*true')
_AT_ONCE = re.compile(rb'"ignore_eos": ?true')
_DEFAULT_CHUNKS = 128

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_TOKEN = _framed(wire.TOKEN_CHUNK)
_LAST = _framed(wire.LAST_CHUNK) + _framed(wire.STREAM_END) + b"0\r\n\r\n"


def _response(body: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json") -> bytes:
    head = b"HTTP/1.1 %b\r\nserver: uvicorn\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (status, kind, len(body)) + body


_ANSWER = _response(wire.ANSWER)
_NOT_FOUND = _response(b'{"detail":"Not Found"}', b"404 Not Found")
_GET = {
    b"/health": _response(b""),
    b"/v1/models": _response(wire.MODELS),
    b"/version": _response(wire.VERSION),
}


class Wheel:
    """Slots in a ring, visited at a steady rate; a visit sends one event of each stream that sits there."""

    def __init__(self, slots: int, visits_per_s: float) -> None:
        self._slots: list[list[Connection]] = [[] for _ in range(slots)]
        self._turn_s = slots / visits_per_s
        self._next_free = 0
        self._visits = 0

    def join(self, stream: "Connection") -> None:
        self._slots[self._next_free % len(self._slots)].append(stream)
        self._next_free += 1

    def visit(self, due_s: float) -> None:
        """A visit that is late by a whole turn falls out: caught up, two events would leave as one."""
        slot = self._slots[self._visits % len(self._slots)]
        self._visits += 1
        if time.monotonic() < due_s + self._turn_s:
            slot[:] = [stream for stream in slot if stream.send_chunk()]


class Connection(asyncio.Protocol):
    """One request at a time: proxies do not pipeline, and one that does is cut off."""

    def __init__(self, open_connections: "set[Connection]", wheel: Wheel) -> None:
        self._open = open_connections
        self._wheel = wheel
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._body: list[bytes] = []
        self._chunks_left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        self._chunks_left = 0

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        self._path = b""
        self._body.clear()
        if self._chunks_left:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        path = self._path.partition(b"?")[0]
        if self._parser.get_method() == b"GET":
            self._transport.write(self._page(path))
        elif path == b"/tokenize" or path.endswith(b"/render"):
            self._transport.write(_NOT_FOUND)
        else:
            self._generate(b"".join(self._body))

    def send_chunk(self) -> bool:
        """One event, the last one with the end mark; whether there are more to come."""
        if not self._chunks_left:
            return False
        self._chunks_left -= 1
        self._transport.write(_TOKEN if self._chunks_left else _LAST)
        return self._chunks_left > 0

    def cut(self) -> None:
        self._transport.abort()

    def _page(self, path: bytes) -> bytes:
        if path == b"/metrics":
            running = sum(1 for connection in self._open if connection._chunks_left)  # noqa: SLF001
            return _response(wire.metrics(running), kind=b"text/plain; version=0.0.4")
        return _GET.get(path, _NOT_FOUND)

    def _generate(self, body: bytes) -> None:
        if not _STREAM.search(body):
            self._transport.write(_ANSWER)
            return
        asked = _MAX_TOKENS.search(body)
        self._chunks_left = max(1, int(asked[1])) if asked else _DEFAULT_CHUNKS
        self._transport.write(_STREAM_HEAD)
        if _AT_ONCE.search(body):
            self._send_at_once()
        elif self.send_chunk():
            self._wheel.join(self)

    def _send_at_once(self) -> None:
        """An event a turn of the event loop, as fast as turns come."""
        if self.send_chunk():
            asyncio.get_running_loop().call_soon(self._send_at_once)


@contextlib.asynccontextmanager
async def serving(port: int, slots: int = 1, visits_per_s: float = 1000.0) -> AsyncIterator[int]:
    """A backend on the loopback while the block runs, and its port; port 0 takes a free one."""
    loop = asyncio.get_running_loop()
    wheel = Wheel(slots, visits_per_s)
    connections: set[Connection] = set()
    server = await loop.create_server(
        lambda: Connection(connections, wheel), "127.0.0.1", port, backlog=4096, reuse_address=True
    )
    with ticking(loop, visits_per_s, wheel.visit):
        yield server.sockets[0].getsockname()[1]
    server.close()
    for connection in list(connections):
        connection.cut()
    await asyncio.sleep(0)  # the turn in which their sockets are closed


async def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backend")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--visits-per-s", type=float, default=1000.0)
    options = parser.parse_args()
    async with serving(options.port, options.slots, options.visits_per_s):
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_main())
