"""A request's decoded body to the Text that rules and classifiers see.

The law: only what a person said is `last` and `before`. Instructions, tool schemas, what tools returned and what the
assistant said say nothing of how hard the question is. Text is bounded, the ends of what is long; media are counted, not
kept. Fields of the wrong type count as absent, and nothing here raises: the replica will refuse them in its own words.
"""

from collections.abc import Iterator
from typing import Any, Final

from balancer.core.tiering.types import Text
from balancer.core.types import Json, RouteKind

END_CHARACTERS: Final = 2048
"""So much is kept of the last turn's head, and of its tail."""
BEFORE_CHARACTERS: Final = 2048
"""So much is kept of the user turns before it, and of the system prompt."""
EXACT_CHARACTERS: Final = 1 << 16
"""The bytes of longer texts are estimated from their ends, unless they are ASCII."""

_TEXTS = frozenset({"text", "input_text"})
_PICTURES = frozenset(
    {"image", "image_url", "input_image", "image_pil", "image_embeds", "video", "video_url"}
)
_SOUNDS = frozenset({"input_audio", "audio", "audio_url"})
_INSTRUCTING = frozenset({"system", "developer"})
_JSON_FORMATS = frozenset({"json_object", "json_schema", "structural_tag"})
_GUIDES = (
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structural_tag",
)
_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")

_NOTHING = Text("", 0, turns=0)


def read_text(route: RouteKind, fields: Json) -> Text:
    """Of routes that generate; of others, and of bodies that are no object, a text with nothing in it."""
    if not route.generates or not isinstance(fields, dict):
        return _NOTHING
    said, system, images, audio = _said(route, fields)
    last = said[-1] if said else ""
    return Text(
        bounded(last),
        _bytes(last),
        _before(said[:-1]),
        system[:BEFORE_CHARACTERS],
        len(said),
        images,
        audio,
        _tools(fields),
        _structured(fields),
        next((n for name in _LIMITS if (n := _count(fields.get(name))) is not None), None),
    )


def bounded(text: str) -> str:
    """The ends of a long text, a line apart."""
    if len(text) <= 2 * END_CHARACTERS:
        return text
    return f"{text[:END_CHARACTERS]}\n{text[-END_CHARACTERS:]}"


def _said(route: RouteKind, fields: dict[str, Any]) -> tuple[list[str], str, int, int]:
    """The user's turns, the system prompt, pictures and sounds."""
    if route is RouteKind.COMPLETIONS:
        prompt = fields.get("prompt")
        if isinstance(prompt, list):  # of several, the first: they go to one model
            prompt = prompt[0] if prompt else None
        return ([prompt] if isinstance(prompt, str) and prompt else []), "", 0, 0
    system = fields.get("instructions" if route is RouteKind.RESPONSES else "system")
    instructions = [system if isinstance(system, str) else _joined(system)]
    said: list[str] = []
    images = audio = 0
    turns = fields.get("input" if route is RouteKind.RESPONSES else "messages")
    if isinstance(turns, str):
        return [turns] if turns else [], instructions[0], 0, 0
    for turn in _turns(turns):
        role, content = turn.get("role"), turn.get("content")
        text = content if isinstance(content, str) else _joined(content)
        if not isinstance(content, str):
            for part in _parts(content):
                images += part in _PICTURES
                audio += part in _SOUNDS
        if role == "user":
            if text:
                said.append(text)
        elif isinstance(role, str) and role in _INSTRUCTING:
            instructions.append(text)
    return said, "\n".join(filter(None, instructions)), images, audio


def _turns(turns: Json) -> Iterator[dict[str, Any]]:
    if isinstance(turns, list) and turns and isinstance(turns[0], list):
        turns = turns[0]  # of a batch
    if isinstance(turns, list):
        for turn in turns:
            if isinstance(turn, dict):
                yield turn


def _joined(content: Json) -> str:
    """A turn's text parts, by lines."""
    if not isinstance(content, list):
        return ""
    return "\n".join(
        part if isinstance(part, str) else part["text"]
        for part in content
        if isinstance(part, str)
        or (
            isinstance(part, dict)
            and isinstance(part.get("text"), str)
            and isinstance(kind := part.get("type", "text"), str)
            and kind in _TEXTS
        )
    )


def _parts(content: Json) -> Iterator[str]:
    """The types of a turn's parts, and of what is in a tool's result."""
    if not isinstance(content, list):
        return
    for part in content:
        if isinstance(part, dict) and isinstance(kind := part.get("type"), str):
            yield kind
            if kind == "tool_result" and isinstance(inner := part.get("content"), list):
                for one in inner:
                    if isinstance(one, dict) and isinstance(one.get("type"), str):
                        yield one["type"]


def _before(said: list[str]) -> str:
    """The newest of the turns, in the order in which they were said."""
    kept: list[str] = []
    room = BEFORE_CHARACTERS
    for turn in reversed(said):
        if room <= 0:
            break
        kept.append(turn[:room])
        room -= len(turn) + 1
    return "\n".join(reversed(kept))


def _bytes(text: str) -> int:
    if text.isascii():
        return len(text)
    if len(text) <= EXACT_CHARACTERS:
        return len(text.encode("utf-8", "surrogatepass"))
    return len(bounded(text).encode("utf-8", "surrogatepass")) * len(text) // (2 * END_CHARACTERS + 1)


def _tools(fields: dict[str, Any]) -> int:
    return sum(len(listed) for name in ("tools", "functions") if isinstance(listed := fields.get(name), list))


def _structured(fields: dict[str, Any]) -> bool:
    formats = [fields.get("response_format")]
    for name in ("text", "output_config"):
        if isinstance(outer := fields.get(name), dict):
            formats += [outer.get("format")]
    for one in formats:
        if isinstance(one, dict) and isinstance(kind := one.get("type"), str) and kind in _JSON_FORMATS:
            return True
    return any(fields.get(name) is not None for name in _GUIDES)


def _count(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
