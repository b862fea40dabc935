"""Which conversation a request belongs to, told by an id in the body, or by how it began.

The law: an id counts only if it names a conversation, or is meant for caches: vLLM's `session_id`, the Responses
API's `conversation`, `prompt_cache_key`, ids of sessions, conversations, threads and chats in `metadata`, and the session
in Claude Code's `metadata.user_id`. `user`, `safety_identifier` and a plain `user_id` name a person, often one for all
the traffic of a service, who would then sit on one replica. `previous_response_id` is another one in each turn.

With none of these a conversation is its first user turn, which stays as it is for as long as it lasts, within model and
`cache_salt`. A raw prompt has no turns: it is a conversation of its own.

A header that names the session goes before both; the frontend knows headers.
"""

import json
from typing import Any

from xxhash import xxh3_128_digest

from balancer.core.request.pieces import Pieces
from balancer.core.request.prompt import canonical_prompt
from balancer.core.request.turns import add_content
from balancer.core.types import Json, RouteKind

MAX_ID_CHARS = 256

_FIELDS = ("session_id", "conversation", "prompt_cache_key")
_METADATA_FIELDS = ("session_id", "conversation_id", "thread_id", "chat_id")
_PLACES = frozenset({*_FIELDS, "metadata", "vllm_xargs"})
_CLAUDE_CODE_SESSION = "_session_"


def stated_session(body: dict[str, Any]) -> str | None:
    """The id of the conversation, if the body tells one."""
    if _PLACES.isdisjoint(body):
        return None
    for name in _FIELDS:
        session = _id(body.get(name))
        if session is not None:
            return session
    extra = body.get("vllm_xargs")
    if isinstance(extra, dict):
        session = _id(extra.get("session_id"))
        if session is not None:
            return session
    metadata = body.get("metadata")
    if isinstance(metadata, dict):
        for name in _METADATA_FIELDS:
            session = _id(metadata.get(name))
            if session is not None:
                return session
        return _claude_code_session(metadata.get("user_id"))
    return None


def conversation_key(route: RouteKind, body: dict[str, Any], namespace: bytes) -> bytes:
    """16 bytes that tell one conversation from another for as long as it lasts; empty, if nobody has said anything."""
    begun = _first_user_turn(route, body)
    return xxh3_128_digest(namespace + b"\xff" + begun) if begun else b""


def _first_user_turn(route: RouteKind, body: dict[str, Any]) -> bytes:
    turns = body.get("input") if route is RouteKind.RESPONSES else body.get("messages")
    if isinstance(turns, list) and turns and isinstance(turns[0], list):
        turns = turns[0]  # of a batch
    out: Pieces = []
    if isinstance(turns, str):
        add_content(turns, out)
    elif isinstance(turns, list):
        for turn in turns:
            if isinstance(turn, dict) and turn.get("role") == "user":
                add_content(turn.get("content"), out)
                if any(out):
                    break
    else:
        return canonical_prompt(route, body).data
    return b"".join(out)


def _id(value: Json) -> str | None:
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARS else None


def _claude_code_session(user_id: Json) -> str | None:
    """Of `user_<hash>_account_<uuid>_session_<uuid>`, or, in later versions, of a JSON object in a string."""
    if not isinstance(user_id, str) or len(user_id) > 4 * MAX_ID_CHARS:
        return None
    if user_id.startswith("{"):
        try:
            return _id(json.loads(user_id).get("session_id"))
        except (ValueError, RecursionError):
            return None
    _, found, session = user_id.rpartition(_CLAUDE_CODE_SESSION)
    return _id(session) if found else None
