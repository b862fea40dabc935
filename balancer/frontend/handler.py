"""One handler for everything that arrives: find the route, check the key, read the body, hand over."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import unquote

from aiohttp import web

from balancer.accounting import access_log
from balancer.accounting.metrics import Metrics
from balancer.accounting.outcomes import OutcomeLog
from balancer.accounting.record import Record
from balancer.core.decider import Decider
from balancer.core.errors import (
    Refused,
    bad_request,
    body_too_large,
    internal_error,
    method_not_allowed,
    not_found,
    unknown_response,
)
from balancer.core.fleet.pins import ResponsePins
from balancer.core.types import ReplicaId, RequestView, RouteKind
from balancer.forwarding.client import ClientSide, Outgoing
from balancer.forwarding.headers import RawHeaders
from balancer.frontend.asking import PLAIN, Asking
from balancer.frontend.auth import CREDENTIAL_HEADERS, ApiKeys
from balancer.frontend.claims import Claims
from balancer.frontend.feedback import FEEDBACK_PATH, FeedbackRoute
from balancer.frontend.ids import decision_ids, given_id, with_id
from balancer.frontend.own import OwnPages
from balancer.frontend.realtime import Realtime
from balancer.frontend.responses import RELAYED, RELAYED_AND_CLOSE, refusal
from balancer.healing import healer
from balancer.job import Job
from balancer.lifecycle import CLIENT_LEFT, Lifecycle
from balancer.tiered import Asked, Due, Tiers
from balancer.vllm_api.routes import (
    REALTIME_PATH,
    STORED_RESPONSE,
    Route,
    dialect_of,
    stored_response_id,
)

if TYPE_CHECKING:
    from balancer.accounting.tracing import Tracing  # which needs an extra

log = logging.getLogger("balancer.frontend")

_CURLS_DEFAULT = "application/x-www-form-urlencoded"
"""What `curl -d '{...}'` sends when nobody told it better; vLLM refuses it. A form never begins with a brace."""

_NOTHING: frozenset[bytes] = frozenset()


class Handler:
    def __init__(
        self,
        lifecycle: Lifecycle,
        decider: Decider,
        metrics: Metrics,
        pins: ResponsePins,
        own: OwnPages,
        realtime: Realtime,
        routes: dict[str, Route],
        keys: ApiKeys,
        claims: Claims,
        asking: Asking,
        outcomes: OutcomeLog | None,
        *,
        request_id_headers: Sequence[str],
        max_body_bytes: int,
        is_draining: Callable[[], bool],
        tiers: Tiers | None = None,
        names_decisions: bool = True,
        writes_access_log: bool = False,
        tracing: "Tracing | None" = None,
    ) -> None:
        """`names_decisions`: each gets an id."""
        self._lifecycle = lifecycle
        self._decider = decider
        self._metrics = metrics
        self._pins = pins
        self._own = own
        self._realtime = realtime
        self._routes = routes
        self._keys = keys
        self._claims = claims
        self._asking = asking
        self._outcomes = outcomes
        self._feedback = FeedbackRoute(outcomes, keys, claims)
        self._withheld = CREDENTIAL_HEADERS if keys else _NOTHING
        self._request_id_headers = request_id_headers
        self._writes_access_log = writes_access_log
        self._tracing = tracing
        self._max_body_bytes = max_body_bytes
        self._is_draining = is_draining
        self._tiers = tiers
        self._names_decisions = names_decisions
        self._ids = decision_ids()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        # absolute form (RFC 9112 section 3.2.2): its authority is not ours to follow
        if not target.startswith("/"):
            target = request.rel_url.raw_path_qs
        path, begun_at = target.partition("?")[0], monotonic()
        response: web.StreamResponse
        try:
            response = await self._answer(request, path, target, begun_at)
        except Refused as refused:
            response = self._refuse(refused, request, path, begun_at)
        except web.HTTPRequestEntityTooLarge:
            response = self._refuse(body_too_large(self._max_body_bytes), request, path, begun_at)
        except web.RequestPayloadError as error:
            unread = bad_request(f"The request body could not be read: {error}")
            response = self._refuse(unread, request, path, begun_at)
        except Exception:
            log.exception("a defect of the balancer, at %s %s", request.method, path)
            response = refusal(internal_error(), dialect_of(path))
        if self._is_draining():
            response.force_close()  # the client's next request is another balancer's
        return response

    def _refuse(
        self, refused: Refused, request: web.BaseRequest, path: str, begun_at: float
    ) -> web.StreamResponse:
        """Of a request that has no record."""
        record = Record(path, begun_at, begun_at, method=request.method)
        self._name(record, request.headers)
        self._not_served(record, refused.status, refused.type)
        return refusal(refused, dialect_of(path), record.request_id)

    def refused_unread(self, refused: Refused) -> None:
        """What came was no HTTP, or too much of it, and was answered so."""
        now = monotonic()
        self._not_served(Record("", now, now), refused.status, refused.type)

    def _not_served(self, record: Record, status: int, error: str, ended_by: str = "refusal") -> None:
        record.status, record.ended_by, record.error = status, ended_by, error
        record.ended_at = monotonic()
        self._metrics.refused(status, ended_by)
        if self._writes_access_log:
            access_log.write(record)

    def _name(self, record: Record, headers: Mapping[str, str]) -> None:
        """Give the request its id: that of the client, else that of its decision."""
        if self._names_decisions:
            record.decision_id = next(self._ids)
        record.request_id = (
            given_id(headers, self._request_id_headers) or record.decision_id or next(self._ids)
        )

    async def _answer(
        self, request: web.BaseRequest, path: str, target: str, begun_at: float
    ) -> web.StreamResponse:
        method = request.method
        route = self._routes.get(path)
        if route is None or method != "POST":
            page = self._own.public.get(path)
            if page is not None:
                return page(request)
            if not (route is not None and method == "OPTIONS"):  # a browser's preflight carries no key
                self._keys.check(request.raw_headers)
            return await self._other(request, route, path, target, begun_at)
        tenant = self._keys.check(request.raw_headers)
        body = await self._body(request, path, begun_at)
        record = Record(route.path, monotonic(), begun_at)
        form = request.headers.get("Content-Type", "") if route.kind is RouteKind.AUDIO else None
        view, asked = self._asking.understand(route.kind, request.headers, body, form)
        view.tenant = tenant
        pinned = self._pins.find(view.previous_response) if view.previous_response is not None else None
        return await self._relay(request, route, view, target, body, pinned, record, asked)

    async def _other(
        self, request: web.BaseRequest, route: Route | None, path: str, target: str, begun_at: float
    ) -> web.StreamResponse:
        """All but the POSTs of inference."""
        method = request.method
        if route is not None:
            if method == "OPTIONS":
                view, record = RequestView(route.kind), Record(route.path, monotonic())
                return await self._relay(request, route, view, target, b"", None, record)
            raise method_not_allowed(method, "POST")
        page = self._own.guarded.get(path)
        if page is not None:
            if method not in {"GET", "HEAD"}:
                raise method_not_allowed(method, "GET")
            return await page(request)
        if path.startswith("/v1/models/") and method == "GET":
            return self._own.model(unquote(path.removeprefix("/v1/models/")))
        response_id = stored_response_id(method, path)
        if response_id is not None:
            pinned = self._pins.find(response_id)
            if pinned is None:
                raise unknown_response(response_id)
            body = await self._body(request, path, begun_at)
            view, record = RequestView(STORED_RESPONSE.kind), Record(STORED_RESPONSE.path, monotonic())
            return await self._relay(request, STORED_RESPONSE, view, target, body, pinned, record)
        if path == FEEDBACK_PATH:
            self._feedback.admit(request)
            return await self._feedback.answer(request, await self._body(request, path, begun_at))
        if path == REALTIME_PATH:
            return await self._socket(request, begun_at)
        raise not_found(path)

    async def _socket(self, request: web.BaseRequest, begun_at: float) -> web.StreamResponse:
        record = Record(REALTIME_PATH, begun_at, begun_at, method=request.method)
        self._name(record, request.headers)
        try:
            return await self._realtime.serve(request, self._withheld, record)
        finally:
            if record.status:  # it was opened
                record.ended_at = monotonic()
                self._metrics.add(record)
                if self._writes_access_log:
                    access_log.write(record)

    async def _body(self, request: web.BaseRequest, path: str, begun_at: float) -> bytes:
        expect = request.headers.get("Expect")
        if expect is not None and expect.lower() == "100-continue" and request.transport is not None:
            length = request.content_length
            if length is not None and length > self._max_body_bytes:
                raise body_too_large(self._max_body_bytes)
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        content = request.content
        if content.is_eof():  # it came with the head, as most do
            body = content.read_nowait()
            if len(body) > self._max_body_bytes:
                raise body_too_large(self._max_body_bytes)
            return body
        try:
            return await request.read()
        except asyncio.CancelledError:
            record = Record(path, begun_at, begun_at, method=request.method)
            self._name(record, request.headers)
            self._not_served(record, CLIENT_LEFT, "", "client")
            raise

    async def _relay(
        self,
        request: web.BaseRequest,
        route: Route,
        view: RequestView,
        target: str,
        body: bytes,
        pinned: ReplicaId | None,
        record: Record,
        asked: Asked = PLAIN,
    ) -> web.StreamResponse:
        transport = request.transport
        if transport is None:  # the client left while its body was read
            raise asyncio.CancelledError
        headers = request.headers
        raw_headers: RawHeaders = request.raw_headers
        if headers.get("Content-Type") == _CURLS_DEFAULT and body.startswith(b"{"):
            raw_headers = _as_json(raw_headers)
        self._asking.name_session(view, headers, asked)
        record.understood_at = now = monotonic()
        self._claims.read(view, headers, now)
        record.tenant, record.method = view.tenant, request.method
        self._name(record, headers)
        trace = None
        if self._tracing is not None:
            scheme = "https" if request.secure else "http"
            trace, raw_headers = self._tracing.begin(raw_headers, record, scheme=scheme)
        outgoing = Outgoing(
            request.method.encode(),
            target.encode("utf-8", "surrogateescape"),
            with_id(raw_headers, record.request_id),
            body,
            self._withheld,
        )
        client = ClientSide(
            transport,
            request.writer.drain,
            http11=request.version >= (1, 1),
            keep_alive=request.keep_alive and not self._is_draining(),
            request_id=record.request_id.encode(),
        )
        job = Job(route, view, outgoing, client, record, pinned, trace=trace)
        if asked.heal:
            job.healer = healer(route.kind, asked.fields)
        try:
            if self._tiers is not None and asked is not PLAIN:
                self._enter_tiers(job, asked, now)
            await self._lifecycle.serve(job)
        except Refused as refused:
            record.error = refused.type
            return refusal(refused, route.dialect, record.request_id)
        finally:
            if trace is not None:
                trace.end(record)
            if self._writes_access_log:
                access_log.write(record)
            if record.tiered is not None and self._outcomes is not None:
                self._outcomes.add(record)
        return RELAYED if client.keep_alive else RELAYED_AND_CLOSE

    def _enter_tiers(self, job: Job, asked: Asked, now: float) -> None:
        """Raises: Refused, if it may not ask for this model, or none that is ours to choose may or can serve it."""
        tiers, view, record = self._tiers, job.request, job.record
        assert tiers is not None
        job.tiers = tiers
        try:
            if asked.ask is None:
                tiers.guard(view)
            else:
                way = tiers.way(
                    asked, view, job.outgoing, decision_id=record.decision_id, pinned=job.pinned, now=now
                )
                job.way, job.due = (None, way) if isinstance(way, Due) else (way, None)
        except Refused as refused:
            record.model = view.model
            record.status, record.ended_by, record.ended_at = refused.status, "refusal", monotonic()
            self._metrics.refused(refused.status)
            raise


def _as_json(headers: RawHeaders) -> RawHeaders:
    return [(n, b"application/json" if n.lower() == b"content-type" else v) for n, v in headers]
