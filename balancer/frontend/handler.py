"""One handler for everything that arrives: find the route, check the key, read the body, hand over."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from urllib.parse import unquote

from aiohttp import web

from balancer.accounting import access_log
from balancer.accounting.metrics import Metrics
from balancer.accounting.outcomes import OutcomeLog
from balancer.accounting.record import Record
from balancer.config.extras import can_heal
from balancer.core.decider import Decider
from balancer.core.errors import (
    Refused,
    bad_field,
    bad_request,
    body_too_large,
    internal_error,
    method_not_allowed,
    not_found,
    unknown_response,
)
from balancer.core.fleet.pins import ResponsePins
from balancer.core.request.multipart import form_field
from balancer.core.request.parse import decode, peek
from balancer.core.types import Json, Reads, ReplicaId, RequestView, RouteKind
from balancer.forwarding.client import ClientSide, Outgoing
from balancer.forwarding.headers import RawHeaders
from balancer.frontend.auth import CREDENTIAL_HEADERS, ApiKeys
from balancer.frontend.claims import Claims
from balancer.frontend.feedback import FEEDBACK_PATH, FeedbackRoute
from balancer.frontend.ids import decision_ids
from balancer.frontend.own import OwnPages
from balancer.frontend.realtime import Realtime
from balancer.frontend.responses import RELAYED, RELAYED_AND_CLOSE, refusal
from balancer.healing import healer
from balancer.job import Job
from balancer.lifecycle import Lifecycle
from balancer.tiered import Asked, Due, Tiers
from balancer.vllm_api.routes import (
    REALTIME_PATH,
    STORED_RESPONSE,
    Route,
    dialect_of,
    stored_response_id,
)

log = logging.getLogger("balancer.frontend")

_CURLS_DEFAULT = "application/x-www-form-urlencoded"
"""What `curl -d '{...}'` sends when nobody told it better; vLLM refuses it. A form never begins with a brace."""

HEAL_HEADER = "x-balancer-heal-json"

_NOTHING: frozenset[bytes] = frozenset()
_PLAIN = Asked()


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
        outcomes: OutcomeLog | None,
        *,
        session_headers: Sequence[str],
        request_id_headers: Sequence[str] | None,
        max_body_bytes: int,
        is_draining: Callable[[], bool],
        tiers: Tiers | None = None,
        names_decisions: bool = True,
        heal: bool = False,
    ) -> None:
        """`names_decisions`: each gets an id. `heal`: answers are mended of whoever does not ask for the contrary."""
        self._lifecycle = lifecycle
        self._decider = decider
        self._metrics = metrics
        self._pins = pins
        self._own = own
        self._realtime = realtime
        self._routes = routes
        self._keys = keys
        self._claims = claims
        self._outcomes = outcomes
        self._feedback = FeedbackRoute(outcomes, keys, claims)
        self._withheld = CREDENTIAL_HEADERS if keys else _NOTHING
        self._session_headers = session_headers
        self._request_id_headers = request_id_headers  # None: no access log is written
        self._max_body_bytes = max_body_bytes
        self._is_draining = is_draining
        self._tiers = tiers
        self._names_decisions = names_decisions
        self._ids = decision_ids()
        self._heal = heal

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        # absolute form (RFC 9112 section 3.2.2): its authority is not ours to follow
        if not target.startswith("/"):
            target = request.rel_url.raw_path_qs
        path = target.partition("?")[0]
        response: web.StreamResponse
        try:
            response = await self._answer(request, path, target)
        except Refused as refused:
            response = self._refuse(refused, path)
        except web.HTTPRequestEntityTooLarge:
            response = self._refuse(body_too_large(self._max_body_bytes), path)
        except web.RequestPayloadError as error:
            response = self._refuse(bad_request(f"The request body could not be read: {error}"), path)
        except Exception:
            log.exception("a defect of the balancer, at %s %s", request.method, path)
            response = refusal(internal_error(), dialect_of(path))
        if self._is_draining():
            response.force_close()  # the client's next request is another balancer's
        return response

    def _refuse(self, refused: Refused, path: str) -> web.StreamResponse:
        """Of a request that has no record."""
        self._metrics.refused(refused.status)
        return refusal(refused, dialect_of(path))

    async def _answer(self, request: web.BaseRequest, path: str, target: str) -> web.StreamResponse:
        begun_at, method = monotonic(), request.method
        route = self._routes.get(path)
        if route is None or method != "POST":
            page = self._own.public.get(path)
            if page is not None:
                return page(request)
            if not (route is not None and method == "OPTIONS"):  # a browser's preflight carries no key
                self._keys.check(request.raw_headers)
            return await self._other(request, route, path, target)
        tenant = self._keys.check(request.raw_headers)
        body = await self._body(request)
        record = Record(route.path, monotonic(), begun_at)
        form = request.headers.get("Content-Type", "") if route.kind is RouteKind.AUDIO else None
        asked = _PLAIN
        if self._tiers is not None or self._heal or HEAL_HEADER in request.headers:
            asked = self._asked(request.headers, body, form)
            retarget = asked.ask is not None
            view = self._decider.understand(route.kind, body, form, fields=asked.fields, retarget=retarget)
        else:
            view = self._decider.understand(route.kind, body, form)
        view.tenant = tenant
        pinned = self._pins.find(view.previous_response) if view.previous_response is not None else None
        return await self._relay(request, route, view, target, body, pinned, record, asked)

    def _asked(self, headers: Mapping[str, str], body: bytes, form: str | None) -> Asked:
        """What the request asks for beside a model.

        Raises: Refused (400), naming what cannot be asked for.
        """
        form = form if form is not None and form.startswith("multipart/") else None
        fields: Json
        if form is not None:
            fields, whole = {"model": form_field(body, form, "model")}, True
        elif self._decider.policy.reads is Reads.ENVELOPE:
            fields, whole = peek(body), False
        else:
            fields, whole = decode(body), True
        ask = None if self._tiers is None else self._tiers.ask(fields, headers)
        heal, by = self._heal, HEAL_HEADER
        if ask is not None and ask.heal:
            heal, by = True, "plugins"
        wish = headers.get(HEAL_HEADER)
        if wish is not None:
            if wish not in {"0", "1"}:
                raise bad_field(HEAL_HEADER, "0 or 1")
            heal = wish == "1"
        if heal and not can_heal():
            raise bad_field(by, "no healing, since the extra `heal` is not installed here")
        if not whole:
            fields = decode(body) if heal or ask is not None else None
        return Asked(fields, ask, form, heal)

    async def _other(
        self, request: web.BaseRequest, route: Route | None, path: str, target: str
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
            body = await self._body(request)
            view, record = RequestView(STORED_RESPONSE.kind), Record(STORED_RESPONSE.path, monotonic())
            return await self._relay(request, STORED_RESPONSE, view, target, body, pinned, record)
        if path == FEEDBACK_PATH:
            self._feedback.admit(request)
            return await self._feedback.answer(request, await self._body(request))
        if path == REALTIME_PATH:
            return await self._realtime.serve(request, self._withheld)
        raise not_found(path)

    async def _body(self, request: web.BaseRequest) -> bytes:
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
        return await request.read()

    async def _relay(
        self,
        request: web.BaseRequest,
        route: Route,
        view: RequestView,
        target: str,
        body: bytes,
        pinned: ReplicaId | None,
        record: Record,
        asked: Asked = _PLAIN,
    ) -> web.StreamResponse:
        transport = request.transport
        if transport is None:  # the client left while its body was read
            raise asyncio.CancelledError
        headers = request.headers
        raw_headers: RawHeaders = request.raw_headers
        if headers.get("Content-Type") == _CURLS_DEFAULT and body.startswith(b"{"):
            raw_headers = _as_json(raw_headers)
        if self._decider.policy.reads is not Reads.ENVELOPE or asked.ask is not None:
            for name in self._session_headers:
                if name in headers:
                    view.session = headers[name]
                    break
        record.understood_at = now = monotonic()
        self._claims.read(view, headers, now)
        record.tenant = view.tenant
        outgoing = Outgoing(
            request.method.encode(),
            target.encode("utf-8", "surrogateescape"),
            raw_headers,
            body,
            self._withheld,
        )
        client = ClientSide(
            transport,
            request.writer.drain,
            http11=request.version >= (1, 1),
            keep_alive=request.keep_alive and not self._is_draining(),
        )
        job = Job(route, view, outgoing, client, record, pinned)
        if self._names_decisions:
            record.decision_id = next(self._ids)
        if asked.heal:
            job.healer = healer(route.kind, asked.fields)
        if self._tiers is not None and asked is not _PLAIN:
            job.tiers = self._tiers
            if asked.ask is None:
                self._tiers.guard(view)
            else:
                way = self._tiers.way(
                    asked, view, outgoing, decision_id=record.decision_id, pinned=pinned, now=now
                )
                job.way, job.due = (None, way) if isinstance(way, Due) else (way, None)
        try:
            await self._lifecycle.serve(job)
        except Refused as refused:
            return refusal(refused, route.dialect)
        finally:
            if self._request_id_headers is not None:
                sent = (headers[name] for name in self._request_id_headers if name in headers)
                access_log.write(record, next(sent, None))
            if record.tiered is not None and self._outcomes is not None:
                self._outcomes.add(record)
        return RELAYED if client.keep_alive else RELAYED_AND_CLOSE


def _as_json(headers: RawHeaders) -> RawHeaders:
    return [(n, b"application/json" if n.lower() == b"content-type" else v) for n, v in headers]
