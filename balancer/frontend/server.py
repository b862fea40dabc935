"""The listening side: aiohttp's low-level server, with its limits raised to what LLM traffic needs."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage

from balancer.core.errors import bad_request, head_too_large, internal_error
from balancer.frontend.responses import refusal
from balancer.vllm_api.routes import Dialect

MAX_HEADERS = 256

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class ClientConnection(web.RequestHandler):
    """Answers what is no HTTP, or too much of it, in the shape of all other errors."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, LineTooLong):
            refused = head_too_large(self.max_field_size)
        elif status == HTTPStatus.BAD_REQUEST:
            refused = bad_request(message or "The request is not valid HTTP.")
        else:
            self.log_exception("a defect of the balancer", exc_info=exc)
            refused = internal_error()
        response = refusal(refused, Dialect.OPENAI)
        response.force_close()
        return response


class _Server(web.Server):
    def __init__(
        self, handler: Handle, request_factory: Callable[..., web.BaseRequest], **connection_limits: object
    ) -> None:
        super().__init__(handler, request_factory=request_factory, handler_cancellation=True)
        self._limits = connection_limits

    def __call__(self) -> web.RequestHandler:
        # aiohttp's own server passes its keyword arguments on in the same way, untyped
        return ClientConnection(self, loop=asyncio.get_running_loop(), **self._limits)  # type: ignore[arg-type]


def make_server(
    handler: Handle,
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

    return _Server(
        handler,
        make_request,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=keepalive_timeout_s,
        max_line_size=max_header_bytes,
        max_field_size=max_header_bytes,
        max_headers=MAX_HEADERS,
        tcp_keepalive=True,
    )


def server_tls(certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext | None:
    if certfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certfile, keyfile)
    return context
