"""The listening side: aiohttp's low-level server, with its limits raised to what LLM traffic needs."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage

MAX_HEADERS = 256


def make_server(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    *,
    max_body_bytes: int,
    max_header_bytes: int,
    keepalive_timeout_s: float,
) -> web.Server:
    """A server that cancels the handler of a client that has gone, and hands on bodies as they came."""
    loop = asyncio.get_running_loop()

    def make_request(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=max_body_bytes)

    return web.Server(
        handler,
        request_factory=make_request,
        handler_cancellation=True,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=keepalive_timeout_s,
        max_line_size=max_header_bytes,
        max_field_size=max_header_bytes,
        max_headers=MAX_HEADERS,
        tcp_keepalive=True,
    )


def server_tls(certfile: str | None, keyfile: str | None) -> ssl.SSLContext | None:
    if certfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certfile, keyfile)
    return context
