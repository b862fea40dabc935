"""Turns of a conversation to canonical bytes, in the order in which chat templates render what is in them.

    turn = role, name, id of the call it answers, reasoning, text and media, calls it makes

The law: whatever vLLM hands to the chat template is here, and nothing else, for it alone can be rendered:
`cache_control`, `annotations`, `signature`, and the `id` and `status` of Responses items are not. Where templates differ
(a name, a call's id, past reasoning), what is handed over counts: a difference that was none costs one prefill, a
likeness that is none promises a hit that does not come. Source: vLLM 0.32, renderers/chat_utils.py,
entrypoints/anthropic/serving.py and entrypoints/openai/responses/utils.py.

Fields of the wrong type count as absent: the replica will refuse them.
"""

from typing import Any

from balancer.core.request.pieces import (
    CALL,
    HEAD,
    MEDIA,
    NAME,
    NEXT,
    REASONING,
    TEXT,
    TURN,
    Pieces,
    add_part,
    json_bytes,
    utf8,
)
from balancer.core.types import Json

_BILLING = "x-anthropic-billing-header"
"""Claude Code's first line, other in each request: vLLM takes it out of system prompts."""

_PLAIN = {role: TURN + role.encode() + TEXT for role in ("user", "assistant", "developer")}
"""Roles of which a string is all there is to say; a tool's turn has an id, a system prompt may have a billing line."""

_TEXT_OF = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "thinking": "thinking",
    "refusal": "refusal",
}
_CALLS = frozenset({"function_call", "custom_tool_call"})
_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})
_NOT_RENDERED = frozenset({"id", "status"})


def add_messages(messages: Json, out: Pieces) -> None:
    """Messages of a chat, or a batch of chats."""
    if not isinstance(messages, list):
        return
    for message in messages:
        if isinstance(message, dict):
            if len(message) == 2:  # as most are: a role and a string
                role, content = message.get("role"), message.get("content")
                if isinstance(content, str) and isinstance(role, str) and role in _PLAIN:
                    out.append(_PLAIN[role])
                    out.append(utf8(content))
                    continue
            _message(message, out)
        elif isinstance(message, list):
            add_messages([turn for turn in message if isinstance(turn, dict)], out)
            out.append(NEXT)


def add_system(text: str, out: Pieces) -> None:
    _turn("system", _without_billing(text), out)


def add_anthropic_system(system: Json, out: Pieces) -> None:
    """The `system` of a Messages request; its blocks are one text without anything between them."""
    if isinstance(system, str):
        if system:
            add_system(system, out)
    elif isinstance(system, list):
        text = "".join(
            block["text"]
            for block in system
            if isinstance(block, dict)
            and isinstance(block.get("text"), str)
            and not block["text"].startswith(_BILLING)
        )
        if text:
            _turn("system", text, out)


def add_anthropic_messages(messages: Json, out: Pieces) -> None:
    if not isinstance(messages, list):
        return
    for message in messages:
        if not isinstance(message, dict):
            continue
        role, content = message.get("role"), message.get("content")
        if role == "system":  # in place: a template that wants it first loses the prefix anyway
            add_anthropic_system([{"text": content}] if isinstance(content, str) else content, out)
        elif isinstance(content, list):
            _blocks(role if isinstance(role, str) else "", content, out)
        else:
            _message(message, out)


def add_items(items: Json, out: Pieces) -> None:
    """The `input` of a Responses request. What the assistant thought, said and called, one item each and in this
    order, is one turn. In any other, vLLM puts an item before its elders; here it comes behind them, as a turn.
    """
    if isinstance(items, str):
        _turn("user", items, out)
        return
    if not isinstance(items, list):
        return
    takes_text = takes_calls = False  # the last turn, if it is the assistant's
    for item in items:
        if not isinstance(item, dict):
            continue
        kind = item.get("type")
        if not isinstance(kind, str):
            kind = "message"
        if kind in _CALLS:
            if not takes_calls:
                _turn("assistant", None, out)
            name = [item["namespace"], item.get("name")] if item.get("namespace") else item.get("name")
            _call(item.get("call_id"), name, item.get("arguments") or item.get("input"), out)
            takes_text, takes_calls = False, True
        elif kind == "reasoning":
            thought = _first_text(item.get("content")) or _first_text(item.get("summary"))
            _turn("assistant", None, out, reasoning=thought)
            takes_text = takes_calls = True
        elif item.get("role") == "assistant":
            content = item.get("content")
            said = content[:1] if isinstance(content, list) else content
            if takes_text:
                add_content(said, out)
            else:
                _turn("assistant", said, out)
            takes_text, takes_calls = False, True
        else:
            takes_text = takes_calls = False
            if kind in _OUTPUTS:
                _turn("tool", item.get("output"), out, call_id=item.get("call_id"))
            elif "role" in item:
                _message(item, out)
            else:
                rest = {name: value for name, value in item.items() if name not in _NOT_RENDERED}
                out += (TURN, MEDIA, json_bytes(rest))


def add_content(content: Json, out: Pieces) -> None:
    """A string, or parts: neighbouring texts are one, joined by a newline."""
    if isinstance(content, str):
        out.append(utf8(content))
    elif isinstance(content, list):
        after_text = False
        for part in content:
            text = part
            if isinstance(part, dict):
                kind = part.get("type")
                field = _TEXT_OF.get(kind) if isinstance(kind, str) else None
                text = part.get(field or "text")
                if field is None and not isinstance(text, str):
                    add_part(part, out)
                    after_text = False
            if not isinstance(text, str) or not text:  # vLLM leaves it out
                continue
            if after_text:
                out.append(b"\n")
            out.append(utf8(text))
            after_text = True


def _message(message: dict[str, Any], out: Pieces) -> None:
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str):
        role = ""
    match role:
        case "assistant":
            reasoning = message.get("reasoning") or message.get("reasoning_content")
            _turn(role, content, out, name=message.get("name"), reasoning=reasoning)
            calls = message.get("tool_calls")
            if isinstance(calls, list):
                for call in calls:
                    function = call.get("function") if isinstance(call, dict) else None
                    if isinstance(function, dict):
                        _call(call.get("id"), function.get("name"), function.get("arguments"), out)
                    else:
                        out += (CALL, json_bytes(call))
        case "tool":
            _turn(role, content, out, name=message.get("name"), call_id=message.get("tool_call_id"))
        case "system":
            _turn(role, _system_content(content), out, name=message.get("name"))
        case _:
            _turn(role, content, out, name=message.get("name"))
            if role == "developer" and message.get("tools"):
                out += (HEAD, json_bytes(message["tools"]))


def _turn(
    role: str, content: Json, out: Pieces, *, name: Json = None, call_id: Json = None, reasoning: Json = None
) -> None:
    out += (TURN, utf8(role))
    if isinstance(name, str):
        out += (NAME, utf8(name))
    if isinstance(call_id, str):
        out += (CALL, utf8(call_id))
    if isinstance(reasoning, str) and reasoning:
        out += (REASONING, utf8(reasoning))
    out.append(TEXT)
    add_content(content, out)


def _call(call_id: Json, name: Json, arguments: Json, out: Pieces) -> None:
    out += (CALL, json_bytes([call_id, name, arguments or "{}"]))


def _blocks(role: str, blocks: list[Any], out: Pieces) -> None:
    """One Anthropic message: the results of tools are turns of their own, before what else the user says."""
    thoughts: list[str] = []
    parts: list[Any] = []
    calls: list[dict[str, Any]] = []
    for block in blocks:
        if not isinstance(block, dict):
            continue
        match block.get("type"):
            case "text":
                if block.get("text"):
                    parts.append(block)
            case "thinking":
                if isinstance(block.get("thinking"), str):
                    thoughts.append(block["thinking"])
            case "redacted_thinking":
                pass
            case "tool_use":
                calls.append(block)
            case "tool_result" if role == "user":
                _tool_result(block, out)
            case _:
                parts.append(block)
    if parts or role != "user":
        _turn(role, parts, out, reasoning="".join(thoughts))
    for call in calls:
        _call(call.get("id"), call.get("name"), call.get("input"), out)


def _tool_result(block: dict[str, Any], out: Pieces) -> None:
    """Its texts are one, its pictures a turn of the user's, its references to tools a turn like it."""
    content, call_id = block.get("content"), block.get("tool_use_id")
    if not isinstance(content, list):
        _turn("tool", content, out, call_id=call_id)
        return
    by_type: dict[str, list[Any]] = {"text": [], "image": [], "tool_reference": []}
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind in by_type:
            by_type[kind].append(part)
    texts = (part.get("text") for part in by_type["text"])
    _turn("tool", "\n".join(text for text in texts if isinstance(text, str)), out, call_id=call_id)
    if by_type["image"]:
        _turn("user", by_type["image"], out)
    if by_type["tool_reference"]:
        _turn("tool", by_type["tool_reference"], out, call_id=call_id)


def _first_text(parts: Json) -> str | None:
    first = parts[0] if isinstance(parts, list) and parts else None
    text = first.get("text") if isinstance(first, dict) else None
    return text if isinstance(text, str) else None


def _system_content(content: Json) -> Json:
    """Without billing lines, whose parts go too if nothing else is in them."""
    if isinstance(content, str):
        return _without_billing(content)
    if not isinstance(content, list):
        return content
    kept = []
    for part in content:
        text = part
        if isinstance(part, dict):
            text = part.get("text") if part.get("type") == "text" else None
        if isinstance(text, str) and text.startswith(_BILLING):
            text = _without_billing(text)
            if text:
                kept.append(text)
        else:
            kept.append(part)
    return kept


def _without_billing(text: str) -> str:
    return text.partition("\n")[2] if text.startswith(_BILLING) else text
