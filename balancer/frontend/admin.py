"""The admin API, on a listener of its own: what each replica is doing, draining them, the configuration, why requests went
where they went, and the live page.
"""

import logging
from time import monotonic
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from balancer.accounting.receipts import Receipts
from balancer.config import ConfigError
from balancer.config.report import plain
from balancer.core.decider import Decider
from balancer.core.errors import (
    Refused,
    bad_configuration,
    body_too_large,
    forgotten_decision,
    internal_error,
    method_not_allowed,
    not_found,
    unknown_replica,
)
from balancer.core.fleet.replica import ReplicaState
from balancer.core.request.parse import decode
from balancer.frontend.auth import ApiKeys
from balancer.frontend.decisions import recent, whole
from balancer.frontend.explaining import Explainer
from balancer.frontend.live import Live
from balancer.frontend.page import page_file
from balancer.frontend.responses import json_response, refusal
from balancer.frontend.state import gpus_told
from balancer.reload import Reloader
from balancer.replicas import Replicas
from balancer.vllm_api.routes import Dialect

log = logging.getLogger("balancer.admin")

_REPLICAS = "/admin/replicas/"
_DECISIONS = "/admin/decisions/"

MOST_BYTES = 16 * 1024 * 1024
"""Of a request to explain."""


class Admin:
    """`keys` and `explainer` may be replaced at any time; without keys, everybody who reaches the listener may call. `ui`: the
    live page is served.
    """

    def __init__(
        self, decider: Decider, replicas: Replicas, reloader: Reloader, receipts: Receipts, live: Live
    ) -> None:
        self._fleet = decider.fleet
        self._replicas = replicas
        self._reloader = reloader
        self._receipts = receipts
        self._live = live
        self.keys = ApiKeys({})
        self.ui = True
        self.explainer: Explainer | None = None

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            path = request.rel_url.raw_path
            if path == "/ui" or path.startswith("/ui/"):
                return self._page(request, path)
            self.keys.check(request.raw_headers)
            if path == "/admin/events":
                _allow("GET", request.method)
                return await self._live.stream(request)
            return await self._answer(request, request.method, path)
        except Refused as refused:
            return refusal(refused, Dialect.OPENAI)
        except Exception:
            log.exception("a defect of the balancer, at %s %s", request.method, request.path)
            return refusal(internal_error(), Dialect.OPENAI)

    def _page(self, request: web.BaseRequest, path: str) -> web.Response:
        found = page_file(path, request.headers.get("If-None-Match", "")) if self.ui else None
        if found is None:
            raise not_found(path)
        _allow("GET", request.method)
        return found

    async def _answer(self, request: web.BaseRequest, method: str, path: str) -> web.Response:
        match path:
            case "/admin/decisions":
                _allow("GET", method)
                return json_response(recent(self._receipts, request.rel_url.query))
            case "/admin/replicas":
                _allow("GET", method)
                return json_response(self._listed())
            case "/admin/state":
                _allow("GET", method)
                return await self._live.state()
            case "/admin/config":
                _allow("GET", method)
                return json_response(self._config())
            case "/admin/reload":
                _allow("POST", method)
                return json_response(await self._reload())
        if path == "/admin/explain" and self.explainer is not None:
            _allow("POST", method)
            return json_response(self.explainer.explain(decode(await _body(request))))
        if path.startswith(_DECISIONS):
            _allow("GET", method)
            return json_response(self._decision(unquote(path.removeprefix(_DECISIONS))))
        name, _, verb = path.removeprefix(_REPLICAS).rpartition("/")
        if not path.startswith(_REPLICAS) or verb not in {"drain", "undrain"}:
            raise not_found(path)
        _allow("POST", method)
        replica = self._replicas.drain(unquote(name), draining=verb == "drain")
        if replica is None:
            raise unknown_replica(unquote(name))
        return json_response(_described(replica, self._state(replica)))

    def _decision(self, decision_id: str) -> dict[str, Any]:
        record = self._receipts.get(decision_id)
        if record is None:
            raise forgotten_decision(decision_id)
        return whole(record)

    def _listed(self) -> dict[str, Any]:
        known = (*self._fleet, *self._fleet.leaving)
        return {"replicas": [_described(replica, self._state(replica)) for replica in known]}

    def _state(self, replica: ReplicaState) -> str:
        if replica not in self._fleet:
            return "leaving"
        return "draining" if replica.draining else "serving"

    def _config(self) -> dict[str, Any]:
        loaded = self._reloader.loaded
        return {
            key: {"value": value, "origin": loaded.origins[key]}
            for key, value in plain(loaded.settings).items()
        }

    async def _reload(self) -> dict[str, Any]:
        try:
            done = await self._reloader.reload()
        except ConfigError as error:
            raise bad_configuration(str(error)) from None
        return {
            "outcome": done.outcome,
            "added": done.changes.added,
            "removed": done.changes.removed,
            "moved": done.changes.moved,
            "waiting_for_restart": done.waiting,
        }


async def _body(request: web.BaseRequest) -> bytes:
    body = await request.content.read(MOST_BYTES)
    while len(body) < MOST_BYTES and (more := await request.content.read(MOST_BYTES)):
        body += more
    if len(body) >= MOST_BYTES:
        raise body_too_large(MOST_BYTES, "")
    return body


def _described(replica: ReplicaState, state: str) -> dict[str, Any]:
    return {
        "name": replica.id,
        "url": replica.url,
        "state": state,
        "health": replica.health,
        "in_flight": replica.in_flight,
        "pending_prefill_tokens": replica.pending_tokens,
        "models": None if replica.models is None else sorted(replica.models),
        "last_error": replica.last_error or None,
        "gpu": gpus_told(replica.gpu, monotonic()) if replica.gpu.gpus else None,
    }


def _allow(expected: str, method: str) -> None:
    if method != expected:
        raise method_not_allowed(method, expected)
