"""The canonical bytes of a prompt, for every route and shape of body.

The law: two requests whose rendered prompts begin alike have canonical bytes that begin alike, and the other way
round. So what a template can render first stands first: its settings (documents, reasoning effort, `chat_template_kwargs`),
tools, the system prompt, then the turns (core/request/turns.py). What only ends a prompt (`add_generation_prompt`,
`continue_final_message`) or steers sampling is left out, and so is `tool_choice`, as vLLM renders tools whatever
it says. What the engine's own block hashes keep apart from the first block on (the adapter, which a request names as its
`model`, and `cache_salt`) seeds the namespace, not the text.

A list of prompts is one request each to the engine, all on one replica: they stand here one behind the other, so
that the first tells what is cached, as if it came alone, and all of them count as work.

Only what the engine prefills has a prompt: to tokenize or to render leaves nothing in a cache.
"""

import struct
from typing import Any, NamedTuple

from balancer.core.request.pieces import HEAD, NEXT, Pieces, add_media, json_bytes, utf8
from balancer.core.request.turns import (
    add_anthropic_messages,
    add_anthropic_system,
    add_items,
    add_messages,
    add_system,
)
from balancer.core.types import Json, RouteKind

_TEMPLATE_VARIABLES = (
    "reasoning_effort",
    "documents",
    "chat_template",
    "mm_processor_kwargs",
    "add_special_tokens",
)
_SETTINGS = frozenset(
    {*_TEMPLATE_VARIABLES, "chat_template_kwargs", "reasoning", "output_config", "thinking"}
)
_SCORED = (("query", "queries", "text_1", "data_1"), ("documents", "items", "text_2", "data_2"))


class Prompt(NamedTuple):
    """`tokens` is the exact count, known where token ids were sent and nothing else."""

    data: bytes
    tokens: int | None = None


def canonical_prompt(route: RouteKind, body: dict[str, Any]) -> Prompt:
    out: Pieces = []
    tokens = None
    match route:
        case RouteKind.CHAT:
            _head(body, out)
            add_messages(body.get("messages"), out)
        case RouteKind.MESSAGES:
            _head(body, out)
            add_anthropic_system(body.get("system"), out)
            add_anthropic_messages(body.get("messages"), out)
        case RouteKind.RESPONSES:
            _responses(body, out)
        case RouteKind.COMPLETIONS:
            tokens = _completion(body, out)
        case RouteKind.EMBEDDINGS | RouteKind.OTHER:
            if "messages" in body:
                _head(body, out)
                add_messages(body["messages"], out)
            else:
                tokens = _raw(body.get("input", body.get("prompt", body.get("texts"))), out)
        case RouteKind.SCORING:
            for names in _SCORED:
                for name in names:
                    _raw(body.get(name), out)
                out.append(NEXT)
        case RouteKind.AUDIO | RouteKind.TOKENIZE:
            pass
    return Prompt(b"".join(out), tokens)


def namespace(model: str | None, cache_salt: Json) -> bytes:
    """What keeps equal prompts apart: their keys differ from the first block on."""
    salt = cache_salt if isinstance(cache_salt, str) else ""
    return utf8(f"{model or ''}\x1f{salt}")


def _head(body: dict[str, Any], out: Pieces) -> None:
    if not _SETTINGS.isdisjoint(body):
        settings = _settings(body)
        if settings:
            out += (HEAD, json_bytes(settings, in_order=False))
    tools = body.get("tools")
    if isinstance(tools, list) and tools:
        out += (HEAD, json_bytes([_tool(tool) for tool in tools]))


def _settings(body: dict[str, Any]) -> dict[str, Any]:
    """The variables of the template. Each API says the reasoning effort in its own place."""
    given = body.get("chat_template_kwargs")
    settings = dict(given) if isinstance(given, dict) else {}
    settings |= {name: body[name] for name in _TEMPLATE_VARIABLES if body.get(name)}
    for name in ("reasoning", "output_config"):
        stated = body.get(name)
        if isinstance(stated, dict) and stated.get("effort"):
            settings["reasoning_effort"] = stated["effort"]
    thinking = body.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "disabled":
        settings["reasoning_effort"] = "none"
    return settings


def _tool(tool: Json) -> Json:
    """The same function in the shapes of chat, Responses and Messages; a built-in tool as it is."""
    if not isinstance(tool, dict):
        return tool
    function = tool.get("function", tool)
    if not isinstance(function, dict) or "name" not in function:
        return tool
    return (
        function["name"],
        function.get("description"),
        function.get("parameters", function.get("input_schema")),
        function.get("strict"),
        function.get("defer_loading"),
    )


def _responses(body: dict[str, Any], out: Pieces) -> None:
    _head(body, out)
    instructions = body.get("instructions")
    if isinstance(instructions, str) and instructions:
        add_system(instructions, out)
    previous = body.get("previous_response_id")
    if previous is not None:  # the turns that the replica has stored stand here
        out += (HEAD, json_bytes(previous))
    add_items(body.get("input"), out)


def _completion(body: dict[str, Any], out: Pieces) -> int | None:
    embeds = body.get("prompt_embeds")
    if embeds is not None:
        for one in embeds if isinstance(embeds, list) else (embeds,):
            add_media(b"embeds", one, None, out)
            out.append(NEXT)
    for name in ("features", "content_parts"):  # of /inference/v1/generate: media whose ids look all alike
        given = body.get(name)
        if given:
            hashes = given.get("mm_hashes") if isinstance(given, dict) else given
            out += (HEAD, json_bytes(hashes))
    if body.get("add_special_tokens") is False:
        out += (HEAD, b"bare")
    tokens = _raw(body["prompt"] if "prompt" in body else body.get("token_ids"), out)
    return tokens if embeds is None else None


def _raw(prompt: Json, out: Pieces) -> int | None:
    """A string, a list of strings, token ids, or a list of lists of token ids. The count, if all are ids."""
    if isinstance(prompt, str):
        out.append(utf8(prompt))
        return None
    if not isinstance(prompt, list) or not prompt:
        return None
    if isinstance(prompt[0], int):
        return _token_ids(prompt, out)
    counts: list[int | None] = []
    for one in prompt:
        if counts:
            out.append(NEXT)
        if isinstance(one, list):
            counts.append(_token_ids(one, out))
        else:
            out.append(utf8(one) if isinstance(one, str) else json_bytes(one))
            counts.append(None)
    return None if None in counts else sum(filter(None, counts))


def _token_ids(ids: list[Any], out: Pieces) -> int:
    try:
        out.append(struct.pack(f"<{len(ids)}I", *ids))
    except (struct.error, TypeError):
        ids = [i for i in ids if isinstance(i, int) and 0 <= i < 1 << 32]
        out.append(struct.pack(f"<{len(ids)}I", *ids))
    return len(ids)
