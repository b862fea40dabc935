"""The canonical bytes of a prompt, for every route and shape of body.

The law: two requests whose rendered prompts begin alike have canonical bytes that begin alike, and the other
way round. So parts stand in the order in which chat templates render them (tools, system, messages), each part is
framed by its role, `content` as a string equals `content` as one text part, and what the engine's own
block hashes keep apart (model, adapter, `cache_salt`) seeds the namespace, not the text.

Fields of the wrong type count as absent: the replica will refuse them.
"""

from typing import Any

import msgspec

from balancer.core.types import Json, RouteKind

_BREAK = b"\x1e"  # record separator: between turns
_PART = b"\x1f"  # unit separator: between the parts of a turn

_encode = msgspec.json.Encoder(order=None).encode


def canonical_prompt(route: RouteKind, body: dict[str, Any]) -> bytes:
    out: list[bytes] = []
    match route:
        case RouteKind.CHAT:
            _tools(body, out)
            _messages(body.get("messages"), out)
        case RouteKind.MESSAGES:
            _tools(body, out)
            _turn(b"system", body.get("system"), out)
            _messages(body.get("messages"), out)
        case RouteKind.RESPONSES:
            _tools(body, out)
            _turn(b"system", body.get("instructions"), out)
            given = body.get("input")
            if isinstance(given, str):
                _turn(b"user", given, out)
            else:
                _messages(given, out)
        case RouteKind.COMPLETIONS | RouteKind.TOKENIZE:
            if "messages" in body:
                _tools(body, out)
                _messages(body.get("messages"), out)
            else:
                _raw_prompt(body.get("prompt"), out)
        case RouteKind.EMBEDDINGS | RouteKind.OTHER:
            _raw_prompt(body.get("input", body.get("prompt")), out)
        case RouteKind.SCORING:
            for field in ("query", "text_1", "queries"):
                _raw_prompt(body.get(field), out)
        case RouteKind.AUDIO:
            pass
    return b"".join(out)


def namespace(model: str | None, cache_salt: Json) -> bytes:
    """What keeps equal prompts apart: their keys differ from the first block on."""
    salt = cache_salt if isinstance(cache_salt, str) else ""
    return f"{model or ''}\x1f{salt}".encode("utf-8", "surrogatepass")


def first_user_turn(route: RouteKind, body: dict[str, Any]) -> bytes:
    """The bytes that tell one conversation from another for as long as it lasts: its first user turn."""
    turns = body.get("input") if route is RouteKind.RESPONSES else body.get("messages")
    out: list[bytes] = []
    if isinstance(turns, str):
        _text(turns, out)
    elif isinstance(turns, list):
        for turn in turns:
            if isinstance(turn, dict) and turn.get("role") == "user":
                _content(turn.get("content"), out)
                break
    else:
        _raw_prompt(body.get("prompt"), out)
    return b"".join(out)


def _tools(body: dict[str, Any], out: list[bytes]) -> None:
    tools = body.get("tools")
    if isinstance(tools, list) and tools:
        out += (_BREAK, b"tools", _PART, _json(tools))


def _messages(messages: Json, out: list[bytes]) -> None:
    if not isinstance(messages, list):
        return
    for message in messages:
        if not isinstance(message, dict):
            continue
        role = message.get("role")
        _turn(
            role.encode("utf-8", "surrogatepass") if isinstance(role, str) else b"",
            message.get("content"),
            out,
        )
        for field in ("tool_calls", "function_call"):
            if message.get(field):
                out += (_PART, _json(message[field]))
        if role is None and "type" in message:  # a Responses item that is no message: a call, its output
            out += (_PART, _json(message))


def _turn(role: bytes, content: Json, out: list[bytes]) -> None:
    if content is None:
        if role != b"system":
            out += (_BREAK, role, _PART)
        return
    out += (_BREAK, role, _PART)
    _content(content, out)


def _content(content: Json, out: list[bytes]) -> None:
    if isinstance(content, str):
        _text(content, out)
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, str):
                _text(part, out)
            elif isinstance(part, dict):
                text = part.get("text")
                if isinstance(text, str):
                    _text(text, out)
                else:  # an image, a sound, a tool call: its own JSON tells it apart
                    out += (_PART, _json(part))


def _raw_prompt(prompt: Json, out: list[bytes]) -> None:
    """A string, a list of strings, token ids, or a list of lists of token ids."""
    if isinstance(prompt, str):
        _text(prompt, out)
    elif isinstance(prompt, list) and prompt:
        if isinstance(prompt[0], str):
            for text in prompt:
                if isinstance(text, str):
                    _text(text, out)
                    out.append(_BREAK)
        elif isinstance(prompt[0], list):
            for ids in prompt:
                _token_ids(ids, out)
                out.append(_BREAK)
        else:
            _token_ids(prompt, out)


def _token_ids(ids: Json, out: list[bytes]) -> None:
    if isinstance(ids, list):
        out.append(b"".join(i.to_bytes(4, "little") for i in ids if isinstance(i, int) and 0 <= i < 1 << 32))


def _text(text: str, out: list[bytes]) -> None:
    out.append(text.encode("utf-8", "surrogatepass"))


def _json(value: Json) -> bytes:
    try:
        return _encode(value)
    except (msgspec.MsgspecError, UnicodeEncodeError, OverflowError, RecursionError, ValueError):
        return repr(value).encode("utf-8", "backslashreplace")
