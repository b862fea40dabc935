"""A replica made of raw bytes: each byte, chunk boundary, FIN and RST is the test's to choose.

It answers like a healthy vLLM until a test gives it `on_post`, and it sees at once that its peer has closed.
"""

import asyncio
import json
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

LOOPBACK = "127.0.0.1"
PROBES = {"/health", "/v1/models", "/metrics"}
METRICS = b"""process_start_time_seconds 1000.0
vllm:num_requests_running{engine="0"} 0.0
vllm:num_requests_waiting{engine="0"} 0.0
vllm:kv_cache_usage_perc{engine="0"} 0.0
vllm:prompt_tokens_total{engine="0"} 100.0
"""

STREAM = re.compile(rb'"stream": ?true')

Headers = Sequence[tuple[str, str]]


@dataclass
class Request:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    def json(self) -> Any:
        return json.loads(self.body)


Script = Callable[["Connection", Request], Awaitable[None] | None]


class Replica:
    def __init__(self, name: str = "r0", *, model: str = "m") -> None:
        self.name = name
        self.models = [{"id": model, "object": "model", "max_model_len": 4096}]
        self.metrics = METRICS
        self.on_post: Script = answer
        self.on_probe: dict[str, Script] = {}
        self.posts: list[Request] = []
        self.probes: list[Request] = []
        self.connections: list[Connection] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self) -> "Replica":
        """Listen; after a stop, on the same port again."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self.open:
            connection.transport.abort()
        for connection in list(self.connections):
            await connection.closed.wait()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    @property
    def open(self) -> list["Connection"]:
        return [connection for connection in self.connections if not connection.closed.is_set()]

    def received(self, connection: "Connection", request: Request) -> None:
        if request.target in PROBES and request.method == "GET":
            self.probes.append(request)
            script = self.on_probe.get(request.target, probed)
        else:
            self.posts.append(request)
            script = self.on_post
        going_on = script(connection, request)
        if going_on is not None:
            task = asyncio.ensure_future(going_on)
            self._tasks.add(task)


class Connection(asyncio.Protocol):
    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.closed = asyncio.Event()
        self.requests = 0
        self.sent_bytes = 0
        self.transport: asyncio.Transport
        self._data = b""
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.replica.connections.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        self.closed.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._data += data
        while b"\r\n\r\n" in self._data:
            head, _, rest = self._data.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            headers = [(name, value.strip()) for name, value in (line.split(":", 1) for line in lines)]
            request = Request(method, target, headers, b"")
            length = int((request.all("content-length") or ["0"])[0])
            if len(rest) < length:
                return
            request.body, self._data = rest[:length], rest[length:]
            self.requests += 1
            self.replica.received(self, request)

    def write(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.sent_bytes += len(piece)
            self.transport.write(piece)

    async def write_when_read(self, piece: bytes) -> None:
        """Write as fast as the peer reads."""
        await self._writable.wait()
        if not self.closed.is_set():
            self.write(piece)

    def respond(self, status: int, body: Any, headers: Headers = (), *, close: bool = False) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in headers)]
        lines += ["Content-Type: application/json", f"Content-Length: {len(raw)}", "", ""]
        self.write("\r\n".join(lines).encode() + raw)
        if close:
            self.transport.close()

    def fin(self) -> None:
        self.transport.close()

    def reset(self) -> None:
        """Close with RST, as a killed process does with unread bytes."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(data: Any) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def piece(choices: list[Any], *, by: str = "1", **more: Any) -> bytes:
    """An event of the chat stream that is called `by`."""
    return event({"id": f"chatcmpl-{by}", "created": 1, "model": "m", "choices": choices, **more})


def token(text: str, *, by: str = "1", **more: Any) -> bytes:
    return piece([{"index": 0, "delta": {"content": text}, **more}], by=by)


ROLE = piece([{"index": 0, "delta": {"role": "assistant", "content": ""}}])
USAGE = piece([], usage={"prompt_tokens": 7, "completion_tokens": 2})
DONE = event(b"[DONE]")


def answer(connection: Connection, request: Request) -> None:
    """What a healthy replica says: who it is, streamed or whole."""
    name = connection.replica.name
    if request.method == "POST" and STREAM.search(request.body):
        connection.write(SSE_HEAD, *map(chunk, (ROLE, token(name), USAGE, DONE)), LAST_CHUNK)
    else:
        usage = {"prompt_tokens": 7, "completion_tokens": 2}
        connection.respond(200, {"id": f"resp_{name}", "served_by": name, "usage": usage})


def answers(status: int, body: Any, headers: Headers = ()) -> Script:
    return lambda connection, request: connection.respond(status, body, headers)


def probed(connection: Connection, request: Request) -> None:
    replica = connection.replica
    if request.target == "/health":
        connection.respond(200, b"")
    elif request.target == "/v1/models":
        connection.respond(200, {"object": "list", "data": replica.models})
    else:
        connection.respond(200, replica.metrics)


def silent(connection: Connection, request: Request) -> None:
    """Takes a request and says nothing."""
