"""A server that answers each request as a test says, and remembers what it was asked."""

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

SSE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(value):
    data = value if isinstance(value, str) else json.dumps(value)
    return chunk(f"data: {data}\n\n".encode())


def said(text):
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})


ROLE = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
DONE = event("[DONE]")


def stream(*texts):
    return SSE + ROLE + b"".join(map(said, texts)) + DONE + END


def whole(body, status="200 OK", kind="application/json"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int


@dataclass
class Server:
    """`asked` has every request in order; `answer(request, writer)` is a coroutine function."""

    answer: Any
    asked: list[Request] = field(default_factory=list)
    port: int = 0
    connections: int = 0
    handlers: dict = field(default_factory=dict)

    async def __call__(self, reader, writer):
        self.connections += 1
        number = self.connections
        self.handlers[asyncio.current_task()] = writer
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                request = Request(lines[0].split(" ")[1], headers, body, number)
                self.asked.append(request)
                await self.answer(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def always(*pieces, close=False):
    """Each piece is a write of its own; then the connection is closed if it should be."""

    async def answer(request, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if close:
            raise ConnectionError

    return answer


async def never(request, writer):
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def serving(answer):
    server = Server(answer)
    listener = await asyncio.start_server(server, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for handler, writer in server.handlers.items():
            handler.cancel()
            writer.transport.abort()
        await asyncio.gather(*server.handlers)
