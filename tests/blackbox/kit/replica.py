"""A vLLM replica made of raw sockets: a check decides every byte, chunk boundary, FIN and RST that it sends."""

import asyncio
import json
import socket
import struct
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from http import HTTPStatus

LOOPBACK = "127.0.0.1"
PROBE = "blackbox-probe"  # the prompt by which the kit tries a balancer out; no check counts it
DONE = b"data: [DONE]\n\n"
METRICS = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 0.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.01
"""
METRICS_BEFORE_0_9 = METRICS.replace("kv_cache_usage_perc", "gpu_cache_usage_perc")

Headers = Sequence[tuple[str, str]]


def event(data: object) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def delta(text: str) -> dict:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
    }


def completion() -> dict:
    choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
    return {**head, "choices": [choice], "usage": usage}


def render_head(status: int, headers: Headers) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def bound(port: int) -> socket.socket:
    """A port that refuses connections until someone listens on it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((LOOPBACK, port))
    return sock


class Request:
    def __init__(self, method: str, target: str, headers: Headers, body: bytes):
        self.method, self.target, self.headers, self.body = method, target, headers, body

    @property
    def path(self) -> str:
        return self.target.split("?", 1)[0]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)

    def json(self):
        return json.loads(self.body)

    @property
    def streams(self) -> bool:
        try:
            body = self.json()
        except ValueError:
            return False
        return isinstance(body, dict) and bool(body.get("stream"))


class Connection:
    """One accepted connection. It is read at all times, so that `closed` is set the moment the peer leaves."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._reader, self._writer = reader, writer
        self._buffer = bytearray()
        self._news = asyncio.Event()
        self.closed = asyncio.Event()
        self._pump = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(65536):
                self._buffer += data
                self._news.set()
        except OSError:
            pass
        self.closed.set()
        self._news.set()

    async def _more(self) -> None:
        if self.closed.is_set():
            raise EOFError
        self._news.clear()
        await self._news.wait()

    async def until(self, separator: bytes) -> bytes:
        while (at := self._buffer.find(separator)) < 0:
            await self._more()
        return self._take(at + len(separator))

    async def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        return self._take(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def respond(
        self, status: int, body: object = b"", headers: Headers = (), content_type="application/json"
    ):
        raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        own = [("Content-Type", content_type), ("Content-Length", str(len(raw)))]
        await self.send(render_head(status, [*own, *headers]) + raw)

    async def start_stream(self, headers: Headers = ()) -> None:
        own = [("Content-Type", "text/event-stream; charset=utf-8"), ("Transfer-Encoding", "chunked")]
        await self.send(render_head(200, [*own, *headers]))

    async def chunk(self, *data: bytes) -> None:
        for piece in data:
            await self.send(b"%x\r\n%b\r\n" % (len(piece), piece))

    async def end(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def stream(self, *events: bytes, headers: Headers = ()) -> None:
        await self.start_stream(headers)
        await self.chunk(*events)
        await self.end()

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        sock = self._writer.get_extra_info("socket")
        with suppress(OSError):  # closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Handler = Callable[[Request, Connection], Awaitable[None]]


class Replica:
    """Answers as vLLM does. `on_post` takes over every POST of a client, `paths` a path of any method."""

    def __init__(self, name: str, metrics: str = METRICS):
        self.name, self.metrics = name, metrics
        self.port = 0
        self.delay_s = 0.0
        self.on_post: Handler | None = None
        self.paths: dict[str, Handler] = {}
        self.posts: list[Request] = []  # of clients
        self.requests: list[Request] = []  # of anyone, probes of the balancer included
        self.in_flight = self.most_in_flight = 0
        self._server: asyncio.Server | None = None
        self._held: socket.socket | None = None
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task] = set()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self) -> "Replica":
        """Listen; after a stop, on the same port again."""
        listener = self._held or bound(0)
        self._held = None
        self._server = await asyncio.start_server(self._accept, sock=listener, backlog=1024)
        self.port = listener.getsockname()[1]
        return self

    async def stop(self) -> None:
        """Die: refuse new connections, reset those that are open. The port is kept from others."""
        if self._server:
            self._server.close()
            self._server = None
            self._held = bound(self.port)
        for connection in self._connections:
            connection.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._connections.clear()

    async def close(self) -> None:
        await self.stop()
        if self._held:
            self._held.close()
            self._held = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        connection = Connection(reader, writer)
        self._tasks.add(task)
        self._connections.add(connection)
        try:
            while True:
                request = await self._read(connection)
                self.requests.append(request)
                await self._dispatch(request, connection)
                if (request.get("connection") or "").lower() == "close":
                    break
            connection.close()
        except (EOFError, OSError, asyncio.CancelledError):
            connection.close()
        except Exception:  # noqa: BLE001 - a mistake in a check: show it
            traceback.print_exc()
            connection.reset()
        finally:
            self._tasks.discard(task)
            self._connections.discard(connection)

    async def _read(self, connection: Connection) -> Request:
        first, *rest = (await connection.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, version = first.split(" ", 2)
        if version not in ("HTTP/1.1", "HTTP/1.0"):
            raise EOFError
        headers = [(name, value.strip()) for name, value in (line.split(":", 1) for line in rest if line)]
        request = Request(method, target, headers, b"")
        if "chunked" in (request.get("transfer-encoding") or "").lower():
            while size := int((await connection.until(b"\r\n")).split(b";")[0], 16):
                request.body += await connection.exactly(size)
                await connection.exactly(2)
            while await connection.until(b"\r\n") != b"\r\n":
                pass
        elif length := request.get("content-length"):
            request.body = await connection.exactly(int(length))
        return request

    async def _dispatch(self, request: Request, connection: Connection) -> None:
        if handler := self.paths.get(request.path):
            await handler(request, connection)
        elif request.method in ("GET", "HEAD"):
            await self._get(request, connection)
        elif PROBE.encode() in request.body:
            await self.answer(request, connection)
        else:
            self.posts.append(request)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            try:
                await self._post(request, connection)
            finally:
                self.in_flight -= 1

    async def _get(self, request: Request, connection: Connection) -> None:
        card = {
            "id": "m",
            "object": "model",
            "created": 1,
            "owned_by": "vllm",
            "root": "m",
            "max_model_len": 32768,
        }
        if request.path in ("/health", "/ping"):
            await connection.respond(200)
        elif request.path == "/v1/models":
            await connection.respond(200, {"object": "list", "data": [card]})
        elif request.path == "/metrics":
            await connection.respond(
                200, self.metrics.encode("latin-1"), content_type="text/plain; version=0.0.4"
            )
        elif request.path == "/version":
            await connection.respond(200, {"version": "0.11.0"})
        else:
            await connection.respond(404, {"detail": "Not Found"})

    async def _post(self, request: Request, connection: Connection) -> None:
        if self.on_post:
            await self.on_post(request, connection)
            return
        if self.delay_s:
            try:
                await asyncio.wait_for(connection.closed.wait(), self.delay_s)
            except TimeoutError:
                pass
            else:
                return
        await self.answer(request, connection)

    async def answer(self, request: Request, connection: Connection) -> None:
        if request.streams:
            await connection.stream(*(event(delta(f"t{index}")) for index in range(3)), DONE)
        else:
            await connection.respond(200, completion())
