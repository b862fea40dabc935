"""An HTTP client made of raw sockets: it shows what came, when, and how it ended. It decodes nothing but framing."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

Headers = Sequence[tuple[str, str]]
CHAT = "/v1/chat/completions"
LIMIT_BYTES = 2**26


def chat(text: str = "hi", *, stream: bool = False, **more) -> dict:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    return {**body, "stream": True} if stream else body


class Exchange:
    """One request and what came of it. `complete` says that the body ended as its framing promised."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader, self.writer = reader, writer
        self.status: int | None = None
        self.headers: Headers = []
        self.body = b""
        self.pieces: list[tuple[float, bytes]] = []  # when, and what
        self.complete = False
        self.error: Exception | None = None
        self._began = time.monotonic()
        self.took_s = 0.0
        self._chunked = False
        self._left: int | None = None

    def __repr__(self) -> str:
        return (
            f"<{self.status} after {self.took_s:.2f} s, complete={self.complete}, error={self.error!r}, "
            f"headers={self.headers}, body={self.body[:300]!r}>"
        )

    @property
    def ok(self) -> bool:
        return self.status == 200 and self.complete

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)

    def json(self):
        return json.loads(self.body)

    def send(self, body: object, target: str = CHAT, headers: Headers = (), method: str = "POST") -> None:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{method} {target} HTTP/1.1",
            "Host: balancer",
            *(f"{name}: {value}" for name, value in headers),
        ]
        if body is not None:
            lines.append(f"Content-Length: {len(raw)}")
            if not any(name.lower() == "content-type" for name, _ in headers):
                lines.append("Content-Type: application/json")
        self.writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + raw)

    async def read_head(self) -> None:
        status = 100
        while status == 100:
            first, *rest = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(first.split(" ")[1])
        self.status = status
        self.headers = [
            (name, value.strip()) for name, value in (line.split(":", 1) for line in rest if line)
        ]
        self._chunked = "chunked" in ",".join(self.all("transfer-encoding")).lower()
        length = self.get("content-length")
        self._left = int(length) if length is not None else None

    async def read_piece(self) -> bytes:
        """The next piece of the body, b"" at its proper end; raises at any other end."""
        if self._chunked:
            size = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
            data = await self.reader.readexactly(size)
            while size == 0 and await self.reader.readuntil(b"\r\n") != b"\r\n":
                pass
            if size:
                await self.reader.readexactly(2)
        elif self._left is not None:
            data = await self.reader.read(min(self._left, 65536)) if self._left else b""
            if self._left and not data:
                raise ConnectionError(f"{self._left} bytes short of Content-Length")
            self._left -= len(data)
        else:
            data = await self.reader.read(65536)
        if data:
            self.pieces.append((time.monotonic(), data))
            self.body += data
        else:
            self.complete = True
        return data

    async def read(self) -> None:
        await self.read_head()
        while await self.read_piece():
            pass

    def ended(self, error: Exception | None = None) -> None:
        self.error = error
        self.took_s = time.monotonic() - self._began

    def close(self) -> None:
        self.writer.close()


async def connect(url: str) -> Exchange:
    host, port = url.removeprefix("http://").split(":")
    return Exchange(*await asyncio.open_connection(host, int(port), limit=LIMIT_BYTES))


@asynccontextmanager
async def opened(url: str, body: object = None, **request) -> AsyncIterator[Exchange]:
    """Send a request and leave the reading to the caller; the client leaves at the end."""
    exchange = await connect(url)
    try:
        if body is not None:
            exchange.send(body, **request)
        yield exchange
    finally:
        exchange.close()


async def ask(
    url: str, body: object = None, timeout_s: float = 10, headers: Headers = (), **request
) -> Exchange:
    """One whole exchange. A network fault does not raise: see `status` (None: no answer) and `error`."""
    try:
        exchange = await connect(url)
    except OSError as error:
        exchange = Exchange(asyncio.StreamReader(), None)
        exchange.ended(error)
        return exchange
    try:
        async with asyncio.timeout(timeout_s):
            exchange.send(body, headers=[*headers, ("Connection", "close")], **request)
            await exchange.writer.drain()
            await exchange.read()
        exchange.ended()
    except (OSError, EOFError, TimeoutError, ValueError) as error:
        exchange.ended(error)
    finally:
        exchange.close()
    return exchange


async def get(url: str, target: str, timeout_s: float = 10) -> Exchange:
    return await ask(url, None, timeout_s, target=target, method="GET")
