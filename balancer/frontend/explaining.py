"""What would become of a request that came now: all that is done with one, up to its decision, and nothing is sent."""

from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import Any

import msgspec
from multidict import CIMultiDict

from balancer.core.decider import Decider
from balancer.core.errors import Refused, bad_field, not_found
from balancer.core.fleet.pins import ResponsePins
from balancer.core.tiering.planner import Awaits
from balancer.core.tiering.types import Score
from balancer.core.types import Decision, Json, RequestView
from balancer.frontend.asking import Asking
from balancer.frontend.claims import Claims
from balancer.frontend.decisions import decision_told, offer_told, tiering_told
from balancer.tiered import Asked, Tiers, told
from balancer.vllm_api.routes import Route

_FIELDS = frozenset({"body", "path", "headers"})
_PATHS = {"messages": "/v1/chat/completions", "prompt": "/v1/completions", "input": "/v1/responses"}

NOT_ASKED = Score(0.5, known=False, why="its classifier is elsewhere, and nothing is sent")


class Explainer:
    """As the settings have it; a change makes another one."""

    def __init__(
        self,
        decider: Decider,
        tiers: Tiers | None,
        asking: Asking,
        claims: Claims,
        routes: Mapping[str, Route],
        pins: ResponsePins,
    ) -> None:
        self._decider = decider
        self._tiers = tiers
        self._asking = asking
        self._claims = claims
        self._routes = routes
        self._pins = pins

    def explain(self, question: Json) -> dict[str, Any]:
        """`question` is `{body, path, headers}`: a request, its route, by default as its body looks, and its headers.

        Raises: Refused (400, 404), if that is none; a refusal of the request itself is told.
        """
        body, path, headers = _request(question)
        route = self._routes.get(path)
        if route is None:
            raise not_found(path)
        found: dict[str, Any] = {"route": path, "decision": None, "tiering": None, "refused": None}
        try:
            self._decide(route, body, headers, found)
        except Refused as refused:
            found["refused"] = {"status": refused.status, "type": refused.type, "message": refused.message}
        return found

    def _decide(self, route: Route, body: bytes, headers: Mapping[str, str], found: dict[str, Any]) -> None:
        now = monotonic()
        view, asked = self._asking.understand(route.kind, headers, body, None)
        self._asking.name_session(view, headers, asked)
        self._claims.read(view, headers, now)
        found["request"] = _understood(view)
        pinned = self._pins.find(view.previous_response) if view.previous_response is not None else None
        if asked.ask is not None:
            self._choose(view, asked, found, now)
            return
        if self._tiers is not None:
            self._tiers.guard(view)
        if pinned is not None and self._decider.fleet.get(pinned) is not None:
            decision = Decision(pinned, "pinned")
        else:
            decision = self._decider.preview(view, now)
        found["decision"] = decision_told(decision)

    def _choose(self, view: RequestView, asked: Asked, found: dict[str, Any], now: float) -> None:
        assert self._tiers is not None
        make = partial(self._tiers.plan, asked, view, decision_id="", pinned=None, now=now)
        try:
            plan = make()
        except Awaits:
            plan = make(given=NOT_ASKED)
        options = plan.options
        choice = self._decider.preview_choice(plan, view, now)
        offers = [offer_told(offer) for offer in choice.offers]
        found["tiering"] = {**tiering_told(told(plan, choice, choice.propensity, options)), "offers": offers}
        found["decision"] = decision_told(choice.decision)


def _request(question: Json) -> tuple[bytes, str, Mapping[str, str]]:
    if not isinstance(question, dict) or not isinstance(question.get("body"), dict):
        raise bad_field(
            "body", "the body of a request, as a JSON object, with `path` and `headers` beside it"
        )
    unknown = sorted(question.keys() - _FIELDS)
    if unknown:
        raise bad_field(unknown[0], "one of body, path, headers")
    body = question["body"]
    path = question.get("path") or next((_PATHS[field] for field in _PATHS if field in body), None)
    if not isinstance(path, str):
        raise bad_field("path", "the route that it is for, as /v1/chat/completions")
    headers = question.get("headers") or {}
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise bad_field("headers", "an object of texts")
    return msgspec.json.encode(body), path, CIMultiDict(headers)


def _understood(view: RequestView) -> dict[str, Any]:
    return {
        "model": view.model,
        "stream": view.stream,
        "tenant": view.tenant or None,
        "priority": view.priority,
        "prompt_bytes": view.prompt_bytes,
        "prompt_tokens": view.prompt_tokens,
        "prompt_blocks": len(view.block_keys),
        "tokens_exact": view.tokens_exact,
        "session": "named" if view.session is not None else "first user turn" if view.conversation else None,
    }
