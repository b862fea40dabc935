"""Body bytes to a RequestView.

Tolerant by law: a body that cannot be read, or a field of the wrong type, is the replica's to refuse, in
its own words. So nothing here raises, and nothing here changes a byte of what is sent on.

JSON is decoded once. msgspec reads the strict majority; what it refuses and Python's json takes (NaN, lone
surrogates), which is what vLLM reads with, goes through json.
"""

import json
from dataclasses import replace
from typing import Any

import msgspec

from balancer.core.prefix.blocks import block_keys
from balancer.core.request.conversation import conversation_key, stated_session
from balancer.core.request.multipart import form_field
from balancer.core.request.prompt import canonical_prompt, namespace
from balancer.core.request.tokens import TokenEstimator
from balancer.core.types import Json, Reads, ReplicaId, RequestView, RouteKind


class _Envelope(msgspec.Struct):
    """The few fields that choosing by load alone needs; the rest is skipped over, not built."""

    model: Any = None
    stream: Any = None
    previous_response_id: Any = None
    priority: Any = None


class _Asking(msgspec.Struct):
    """All that may ask for a tier."""

    model: Any = None
    models: Any = None
    route: Any = None
    provider: Any = None
    plugins: Any = None


_envelope = msgspec.json.Decoder(_Envelope)
_asking = msgspec.json.Decoder(_Asking)
_whole = msgspec.json.Decoder()
_UNTAUGHT = TokenEstimator()


def decode(body: bytes) -> Json:
    """The decoded body, or None if it is no JSON."""
    try:
        return _whole.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            return None
    except RecursionError:
        return None


def peek(body: bytes) -> Json:
    """The decoded body as far as it may ask for a tier, for policies that read no more than a request's envelope."""
    try:
        asking = _asking.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return decode(body)
    return {name: value for name in _Asking.__struct_fields__ if (value := getattr(asking, name)) is not None}


def _read_envelope(route: RouteKind, body: bytes) -> RequestView:
    try:
        envelope = _envelope.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _view(route, decode(body))
    return RequestView(
        route,
        _text(envelope.model),
        envelope.stream is True,
        previous_response=_text(envelope.previous_response_id),
        priority=_priority(envelope.priority),
    )


def read_request(
    route: RouteKind,
    body: bytes,
    reads: Reads,
    tokens: TokenEstimator | None = None,
    *,
    keep_prompt: bool = False,
    fields: Json = None,
) -> RequestView:
    """As much of the request as is asked for; `tokens` is what was learned of the models, None: nothing. `fields` is the decoded
    body, if it was. `keep_prompt`: so that it can be retargeted; then its prompt is measured whatever the policy reads.
    """
    if reads is Reads.ENVELOPE and fields is None:
        return _read_envelope(route, body)
    if fields is None:
        fields = decode(body)
    view = _view(route, fields)
    if not isinstance(fields, dict) or (reads is Reads.ENVELOPE and not keep_prompt):
        return view
    space = namespace(view.model, fields.get("cache_salt"))
    view.session = stated_session(fields)
    view.conversation = conversation_key(route, fields, space)
    if reads is Reads.PROMPT or keep_prompt:
        prompt = canonical_prompt(route, fields)
        view.prompt_bytes = len(prompt.data)
        if reads is Reads.PROMPT:
            view.block_keys = block_keys(prompt.data, space)
        if prompt.tokens is not None:
            view.prompt_tokens, view.tokens_exact = prompt.tokens, True
        else:
            view.prompt_tokens = (tokens or _UNTAUGHT).estimate(view.model, view.prompt_bytes)
        if keep_prompt and reads is Reads.PROMPT:
            view.prompt, view.salt = prompt.data, _text(fields.get("cache_salt")) or ""
    return view


def retargeted(
    view: RequestView, model: str, among: frozenset[ReplicaId] | None, tokens: TokenEstimator
) -> RequestView:
    """The same request, asked of another model, as if it had named it: keys and tokens are that model's. The conversation
    keeps its key.
    """
    if view.prompt is None:
        return replace(view, model=model, among=among)
    return replace(
        view,
        model=model,
        among=among,
        block_keys=block_keys(view.prompt, namespace(model, view.salt)),
        prompt_tokens=view.prompt_tokens if view.tokens_exact else tokens.estimate(model, view.prompt_bytes),
    )


def read_form(route: RouteKind, body: bytes, content_type: str) -> RequestView:
    """A multipart form (audio): the model is one of its fields, the prompt is a sound."""
    model = form_field(body, content_type, "model")
    stream = form_field(body, content_type, "stream")
    return RequestView(route=route, model=model, stream=(stream or "").lower() in {"true", "1"})


def _view(route: RouteKind, fields: Json) -> RequestView:
    if not isinstance(fields, dict):
        return RequestView(route=route)
    return RequestView(
        route,
        _text(fields.get("model")),
        fields.get("stream") is True,
        previous_response=_text(fields.get("previous_response_id")),
        priority=_priority(fields.get("priority")),
    )


def _priority(value: Json) -> int:
    """vLLM's: a whole number, lower goes first."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None
