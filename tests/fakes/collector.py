"""An OTLP/HTTP collector on the loopback, which may be slow, or say no."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.fakes.client import LOOPBACK


class Told:
    """A span as it came."""

    def __init__(self, span: Span) -> None:
        self.name = span.name
        self.kind = Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower()
        self.trace_id = span.trace_id.hex()
        self.span_id = span.span_id.hex()
        self.parent_id = span.parent_span_id.hex()
        self.state = span.trace_state
        self.start_ns, self.end_ns = span.start_time_unix_nano, span.end_time_unix_nano
        self.error = span.status.code == span.status.STATUS_CODE_ERROR
        self.events = [(event.name, event.time_unix_nano) for event in span.events]
        self.attributes = {each.key: _value(each.value) for each in span.attributes}

    def __repr__(self) -> str:
        return f"<{self.kind} span {self.name}>"


def _value(value):
    return getattr(value, value.WhichOneof("value"))


class Collector:
    def __init__(self) -> None:
        self.spans: list[Told] = []
        self.resource: dict[str, object] = {}
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.hangs = False
        self.url = ""

    def of(self, kind: str) -> list[Told]:
        return [span for span in self.spans if span.kind == kind]

    def named(self, name: str) -> list[Told]:
        return [span for span in self.spans if span.name == name]

    async def take(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        self.paths.append(request.path)
        self.headers.append(dict(request.headers))
        if self.hangs:
            await asyncio.Event().wait()
        if self.status == 200:
            for scope in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resource = {each.key: _value(each.value) for each in scope.resource.attributes}
                self.spans += [Told(span) for spans in scope.scope_spans for span in spans.spans]
        return web.Response(status=self.status)


@contextlib.asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    server = web.Server(collector.take, access_log=None, handler_cancellation=True)
    listener = await asyncio.get_running_loop().create_server(server, LOOPBACK, 0)
    collector.url = f"http://{LOOPBACK}:{listener.sockets[0].getsockname()[1]}"
    try:
        yield collector
    finally:
        listener.close()
        await server.shutdown(0.01)
