"""Traces, by OpenTelemetry (the extra `otel`). Only this module knows it, and who traces imports this module late.

    request (server) ── tier, admission, schedule        what was decided, and how long it was held
                     └─ an attempt (client)              one for each replica that was asked; vLLM's own span is its child
                          └─ stream                      from the answer's first byte, with its first token, to its end

Nothing is sent from the event loop: ended spans go into a bounded queue, which the SDK's thread empties. What it cannot take, or
no collector takes, is lost, and nobody waits for it but the end of the process, for FLUSH_S.

Context is W3C's. A `traceparent` that comes says whether the request is traced; where none comes, the dice do. Who is not traced
costs no more than that, and its replica is told so, lest it begin a trace of its own (`baggage` passes as all heads do).
"""

import asyncio
import os
import random
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from time import monotonic, time_ns
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED, OTEL_TRACES_SAMPLER
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from balancer import __version__
from balancer.accounting import genai_names as names
from balancer.accounting.record import Record, Tiered
from balancer.core.types import Decision, RequestView, Usage

Headers = Sequence[tuple[bytes, bytes]]

FLUSH_S = 2.0
"""How long the end of the process waits for the collector to take what is left."""
MAX_CHARS = 256
"""Of an attribute that a client wrote."""

_PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")
"""W3C Trace Context, level 1, section 3.2; a later version may append fields."""
_CONTEXT = frozenset({b"traceparent", b"tracestate"})
_BROKEN = frozenset({"replica", "shutdown", "timeout", "slow_client"})
"""Ends of requests that are errors whatever the status was."""


class Tracing:
    """`sample` is the share of requests without a parent that are traced; None: the SDK's sampler decides, by the environment."""

    def __init__(
        self, processor: SpanProcessor, sample: float | None = None, rng: random.Random | None = None
    ) -> None:
        if sample is None and OTEL_TRACES_SAMPLER not in os.environ:
            sample = 1.0
        self._sample = sample
        self._processor = processor
        self._provider = TracerProvider(
            sampler=None if sample is None else ALWAYS_ON, resource=_resource(), shutdown_on_exit=False
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("balancer", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._rng = rng or random.Random()

    def begin(self, headers: Headers, record: Record, *, scheme: str) -> "tuple[Trace | None, Headers]":
        """The request's trace, if it has one, and the head as its replica gets it, but for what an attempt adds."""
        parents = [value for name, value in headers if len(name) == 11 and name.lower() == b"traceparent"]
        found = _PARENT.fullmatch(parents[0]) if len(parents) == 1 else None
        context = Context()
        if found is not None:
            if self._sample is not None and not int(found[1], 16) & 1:
                return None, headers
            context = self._propagator.extract(_carrier(headers), context)
        elif self._sample is not None and self._rng.random() >= self._sample:
            return None, _replaced(headers, self._untraced(), b"")
        epoch_ns = time_ns() - int(monotonic() * 1e9)
        begun_at = record.arrived_at if record.begun_at is None else record.begun_at
        span = self._tracer.start_span(
            f"{record.method} {_text(record.path)}",
            context,
            api.SpanKind.SERVER,
            {
                names.METHOD: record.method,
                names.ROUTE: record.path,
                names.URL_PATH: record.path,
                names.URL_SCHEME: scheme,
            },
            start_time=epoch_ns + int(begun_at * 1e9),
        )
        told = span.get_span_context()
        if not span.is_recording():
            return None, headers if found is not None else _carried(headers, told)
        record.trace_id = f"{told.trace_id:032x}"
        return Trace(self._tracer, span, epoch_ns), headers

    def _untraced(self) -> bytes:
        trace_id, span_id = self._rng.getrandbits(128) or 1, self._rng.getrandbits(64) or 1
        return b"00-%032x-%016x-00" % (trace_id, span_id)

    async def close(self, within_s: float = FLUSH_S) -> None:
        """Send what is left, in a thread that nobody joins: a collector that hangs holds it, and nothing else."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop has gone
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=flush, name="traces", daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), within_s)


def start_tracing(endpoint: str | None, sample: float | None) -> Tracing | None:
    """`endpoint` None: the environment names it. It may also say that there is nothing to trace."""
    if os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true":
        return None
    return Tracing(BatchSpanProcessor(OTLPSpanExporter(endpoint)), sample)


class Trace:
    """Of one request. Times are seconds on the monotonic clock, which `epoch_ns` makes wall time: a clock that is set meanwhile
    tears no trace.
    """

    def __init__(self, tracer: api.Tracer, span: api.Span, epoch_ns: int) -> None:
        self._tracer = tracer
        self._span = span
        self._context = api.set_span_in_context(span, Context())
        self._epoch_ns = epoch_ns
        self._attempt: api.Span | None = None
        self._attempts = 0
        self._held = False
        self._sent_at = 0.0

    def entered_tier(self, started_at: float, tiered: Tiered) -> None:
        attributes = {
            names.ASKED: _text(tiered.asked),
            names.TIER: tiered.tier,
            names.TIER_REASON: tiered.reason,
            names.TIER_RULE: tiered.rule,
            names.TIER_SCORE: tiered.score,
            names.TIER_THRESHOLD: tiered.threshold,
        }
        self._did(names.TIER_SPAN, started_at, monotonic(), attributes)

    def waited(self, started_at: float, decision: Decision) -> None:
        """The request was held; `decision` said so."""
        self._held = True
        self._did(names.ADMISSION_SPAN, started_at, monotonic(), {names.REASON: decision.reason})

    def sends(
        self,
        headers: Headers,
        record: Record,
        request: RequestView,
        url: str,
        *,
        external: bool,
        decided_at: float,
    ) -> Headers:
        """An attempt begins at the replica with this URL; what its head is. It was asked for at `decided_at`."""
        if not self._held:  # else it was decided while it was held
            decided = {
                names.REPLICA: record.replica,
                names.REASON: record.reason,
                names.MATCHED_TOKENS: record.matched_tokens,
                names.PREDICTED_TTFT: record.predicted_ttft_s,
            }
            self._did(names.SCHEDULE_SPAN, decided_at, monotonic(), decided)
        self._held = False
        model = _text(record.model or "")
        operation = names.OPERATIONS.get(request.route)
        host, port = _address(url)
        attributes = {
            names.OPERATION: operation,
            names.PROVIDER: record.replica if external else names.OWN_PROVIDER,
            names.REQUEST_MODEL: model,
            names.REQUEST_STREAM: request.stream or None,
            names.METHOD: record.method,
            names.URL_FULL: url + _text(record.path),
            names.SERVER_ADDRESS: host,
            names.SERVER_PORT: port,
            names.REPLICA: record.replica,
            names.REASON: record.reason,
            names.RESEND_COUNT: self._attempts or None,
        }
        self._attempts += 1
        self._sent_at = record.sent_at
        self._attempt = self._tracer.start_span(
            f"{operation} {model}" if operation is not None else f"{record.method} {_text(record.path)}",
            self._context,
            api.SpanKind.CLIENT,
            _told(attributes),
            start_time=self._ns(record.sent_at),
        )
        return _carried(headers, self._attempt.get_span_context())

    def sent(
        self,
        outcome: str,
        status: int,
        *,
        heard_at: float | None = None,
        token_at: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        """The attempt has ended, `outcome` says how; `status` is what its answer stands for, 0 if none came."""
        span, self._attempt = self._attempt, None
        if span is None:
            return
        ended_at = monotonic()
        if heard_at is not None and status < 400:
            self._stream(span, heard_at, token_at, ended_at)
        error = outcome if outcome != "answered" else str(status) if status >= 400 else None
        attributes = {
            names.STATUS_CODE: status or None,
            names.OUTCOME: outcome,
            names.TIME_TO_FIRST_CHUNK: None if token_at is None else token_at - self._sent_at,
        }
        span.set_attributes(_told(attributes | _used(usage)))
        _end(span, error, self._ns(ended_at))

    def end(self, record: Record) -> None:
        """The request has ended."""
        if self._attempt is not None:
            self.sent("cancelled", 0)
        tiered, token_at = record.tiered, record.token_at
        attributes = {
            names.REQUEST_MODEL: _text((record.model if tiered is None else tiered.asked) or ""),
            names.RESPONSE_MODEL: None if tiered is None else tiered.model,
            names.STATUS_CODE: record.status or None,
            names.REQUEST_ID: record.request_id,
            names.DECISION_ID: record.decision_id,
            names.TENANT: _text(record.tenant),
            names.TIER: None if tiered is None else tiered.tier,
            names.REPLICA: record.replica,
            names.REASON: record.reason,
            names.ENDED_BY: record.ended_by,
            names.ATTEMPTS: record.attempts,
            names.RESUMED: record.resumed or None,
            names.TTFT: None if token_at is None else token_at - record.arrived_at,
        }
        self._span.set_attributes(_told(attributes | _used(record.usage)))
        error = None
        if record.status >= 500 or not record.status:
            error = record.error or str(record.status or names.OTHER_ERROR)
        elif record.ended_by in _BROKEN:
            error = record.ended_by
        _end(self._span, error, self._ns(record.ended_at or monotonic()))

    def _stream(self, attempt: api.Span, heard_at: float, token_at: float | None, ended_at: float) -> None:
        context = api.set_span_in_context(attempt, Context())
        span = self._tracer.start_span(names.STREAM_SPAN, context, start_time=self._ns(heard_at))
        if token_at is not None:
            span.add_event(names.FIRST_TOKEN_EVENT, timestamp=self._ns(token_at))
        span.end(self._ns(max(heard_at, ended_at)))

    def _did(self, name: str, started_at: float, ended_at: float, attributes: Mapping[str, Any]) -> None:
        start = self._ns(started_at)
        span = self._tracer.start_span(name, self._context, attributes=_told(attributes), start_time=start)
        span.end(self._ns(ended_at))

    def _ns(self, at: float) -> int:
        return self._epoch_ns + int(at * 1e9)


def _end(span: api.Span, error: str | None, at_ns: int) -> None:
    if error is not None:
        span.set_attribute(names.ERROR_TYPE, error)
        span.set_status(api.StatusCode.ERROR)
    span.end(at_ns)


def _used(usage: Usage | None) -> dict[str, Any]:
    if usage is None:
        return {}
    return {
        names.INPUT_TOKENS: usage.prompt_tokens,
        names.CACHED_TOKENS: usage.cached_tokens,
        names.OUTPUT_TOKENS: usage.output_tokens,
    }


def _told(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None and value != ""}


def _text(value: str) -> str:
    """A client may have written it; one half of a character would make its whole batch unsendable."""
    return value[:MAX_CHARS].encode("utf-8", "replace").decode()


def _carrier(headers: Headers) -> dict[str, str]:
    """The two heads as the propagator reads them; several `tracestate` are one list (W3C Trace Context, section 3.3.1)."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        low = name.lower()
        if low in _CONTEXT:
            found.setdefault(low.decode(), []).append(value.decode("latin-1"))
    return {name: ",".join(values) for name, values in found.items()}


def _carried(headers: Headers, told: api.SpanContext) -> Headers:
    parent = b"00-%032x-%016x-%02x" % (told.trace_id, told.span_id, told.trace_flags)
    return _replaced(headers, parent, told.trace_state.to_header().encode("latin-1", "replace"))


def _replaced(headers: Headers, parent: bytes, state: bytes) -> Headers:
    sent = [(name, value) for name, value in headers if name.lower() not in _CONTEXT]
    sent.append((b"traceparent", parent))
    if state:
        sent.append((b"tracestate", state))
    return sent


@lru_cache(1024)
def _address(url: str) -> tuple[str, int | None]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port


def _resource() -> Resource:
    """What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes before our own name."""
    own = Resource({"service.name": "vllm-balancer", "service.version": __version__})
    given = Resource.create()
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return own.merge(given) if named else given.merge(own)
