"""The listening side: aiohttp's low-level server, with its limits raised to what LLM traffic needs."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage

from balancer.core.errors import Refused, bad_request, head_too_large, internal_error
from balancer.frontend.responses import refusal
from balancer.vllm_api.routes import Dialect

MAX_HEADERS = 256

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class ClientConnection(web.RequestHandler):
    """Answers what is no HTTP, or too much of it, in the shape of all other errors."""

    __slots__ = ("on_refused",)

    on_refused: Callable[[Refused], None]

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
        self.on_refused(refused)
        response = refusal(refused, Dialect.OPENAI)
        response.force_close()
        return response


@dataclass(frozen=True, slots=True)
class ServerLimits:
    max_body_bytes: int
    max_header_bytes: int
    keepalive_timeout_s: float


class Server(web.Server):
    """Cancels the handler of a client that has gone, and hands on bodies as they came. Connections keep the limits that
    they began with; `handler`, `limits` and `on_refused` (told of what never came to the handler) are set before the first one,
    and may be replaced at any time.
    """

    handler: Handle
    on_refused: Callable[[Refused], None]
    limits: ServerLimits

    def __init__(self) -> None:
        super().__init__(self._handle, request_factory=self._request, handler_cancellation=True)

    def __call__(self) -> web.RequestHandler:
        limits = self.limits
        connection = ClientConnection(
            self,
            loop=self._loop,
            access_log=None,  # type: ignore[arg-type] # which turns it off
            auto_decompress=False,
            keepalive_timeout=limits.keepalive_timeout_s,
            max_line_size=limits.max_header_bytes,
            max_field_size=limits.max_header_bytes,
            max_headers=MAX_HEADERS,
            tcp_keepalive=True,
        )
        connection.on_refused = self.on_refused
        return connection

    def _handle(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        return self.handler(request)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message,
            payload,
            protocol,
            writer,
            task,
            self._loop,
            client_max_size=self.limits.max_body_bytes,
        )


def server_tls(certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext | None:
    if certfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certfile, keyfile)
    return context
