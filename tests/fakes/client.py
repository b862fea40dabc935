"""A client made of raw bytes, on one connection: it shows what came, and whether its framing kept its promise."""

import asyncio
import json
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

CHAT = "/v1/chat/completions"
LOOPBACK = "127.0.0.1"
READ_LIMIT_S = 15


def chat(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def stream(text: str = "hi", **more: Any) -> dict[str, Any]:
    return chat(text, stream=True, **more)


@dataclass
class Answer:
    """`complete`: the body ended as its framing promised; `end` says how the connection ended if it did not."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    complete: bool = False
    end: str = ""
    interim: list[int] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The data of each event of the body, comments left out; [DONE] stays bytes."""
        found = [
            piece.removeprefix(b"data: ") for piece in self.body.split(b"\n\n") if piece and piece[:1] != b":"
        ]
        return [data if data == b"[DONE]" else json.loads(data) for data in found]


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int, *, receive_buffer_bytes: int | None = None) -> "Client":
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (LOOPBACK, port))
        except OSError:
            sock.close()
            raise
        limit = 2**16 if receive_buffer_bytes is None else receive_buffer_bytes
        return cls(*await asyncio.open_connection(sock=sock, limit=limit))

    def send(
        self,
        body: Any = None,
        target: str = CHAT,
        headers: dict[str, str] | None = None,
        method: str | None = None,
        version: str = "1.1",
    ) -> None:
        """A request; with a body it is a POST, else a GET, if not said otherwise."""
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Host": "balancer.test", **(headers or {})}
        if body is not None:
            fields = {"Content-Type": "application/json", "Content-Length": str(len(raw)), **fields}
        method = method or ("GET" if body is None else "POST")
        lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + raw)

    async def head(self) -> Answer:
        interim = []
        async with asyncio.timeout(READ_LIMIT_S):
            while True:
                raw = await self.reader.readuntil(b"\r\n\r\n")
                first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
                status = int(first.split(" ")[1])
                if status >= 200 or status == 101:
                    break
                interim.append(status)
        headers = [(name, value.strip()) for name, value in (line.split(":", 1) for line in lines)]
        return Answer(status, headers, interim=interim)

    async def more(self, answer: Answer) -> bytes:
        """The next piece of a chunked body; b"" at its end."""
        async with asyncio.timeout(READ_LIMIT_S):
            size = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
            piece = await self.reader.readexactly(size)
            if size:
                assert await self.reader.readexactly(2) == b"\r\n"
            else:
                while await self.reader.readuntil(b"\r\n") != b"\r\n":
                    pass
                answer.complete = True
        answer.body += piece
        return piece

    async def read(self, answer: Answer | None = None, *, bodiless: bool = False) -> Answer:
        """The rest of an answer, or all of it."""
        answer = await self.head() if answer is None else answer
        length = answer.get("content-length")
        try:
            if answer.status in {204, 304} or bodiless:
                answer.complete = True
            elif answer.get("transfer-encoding") == "chunked":
                while await self.more(answer):
                    pass
            elif length is not None:
                async with asyncio.timeout(READ_LIMIT_S):
                    answer.body += await self.reader.readexactly(int(length) - len(answer.body))
                answer.complete = True
            else:
                async with asyncio.timeout(READ_LIMIT_S):
                    answer.body += await self.reader.read(-1)
                answer.complete = True
        except asyncio.IncompleteReadError as error:
            answer.body += error.partial if length is not None else b""
            answer.end = "closed"
        except ConnectionError:
            answer.end = "reset"
        return answer

    async def ask(self, body: Any = None, **request: Any) -> Answer:
        self.send(body, **request)
        return await self.read(bodiless=request.get("method") == "HEAD")

    async def closed(self) -> bytes:
        """What still came until the other side closed."""
        async with asyncio.timeout(READ_LIMIT_S):
            return await self.reader.read(-1)

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
