"""Mends JSON that the client asked for and the model got wrong: fences around it, words before it, quotes and commas.

Opt-in, and never silent: a head says what was mended and what could not be. Only whole answers are looked at, up to
MAX_ANSWER_BYTES, and of these only texts that should be JSON (`response_format`, `text.format`, `structured_outputs`,
`guided_json`) or are the arguments of a call, and don't parse. An answer that was cut off by its token limit is left as it is:
closing its brackets would pass a part off as the whole.

json-repair (the extra `heal`) does the mending. It is plain Python, slow and with bad cases, so it runs in one thread beside
the loop, and texts longer than MAX_TEXT_CHARS are left alone.
"""

import asyncio
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec

from balancer.core.types import Json, RouteKind
from balancer.vllm_api.events import object_in

log = logging.getLogger("balancer.requests")

MAX_ANSWER_BYTES = 256 * 1024
MAX_TEXT_CHARS = 64 * 1024
"""json-repair 0.64 takes 0.1 to 0.25 s for as much, and four times as long for twice as much that is no JSON at all."""
MOST_NAMED = 16
"""Places named in a head."""

_worker = ThreadPoolExecutor(1, "healing")


class Wanted(NamedTuple):
    """What the client asked the text to be: an `object` with these keys, or any JSON."""

    object: bool
    required: frozenset[str] = frozenset()


class Mended(NamedTuple):
    """`body` is None where nothing was mended. Places are as `choices.0` or `choices.0.tool_calls.1`."""

    body: bytes | None
    healed: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def head(self) -> bytes:
        """Lines that tell of it."""
        told = (("healed", self.healed), ("heal-failed", self.failed))
        return b"".join(
            f"x-balancer-{what}: {', '.join(places[:MOST_NAMED])}\r\n".encode()
            for what, places in told
            if places
        )


class Healer:
    """Of one request: what of its answer should be JSON."""

    def __init__(self, wanted: Wanted | None) -> None:
        self._wanted = wanted

    async def mend(self, body: bytes) -> Mended | None:
        """None, if all parses: that is found out here, the rest in a thread."""
        answer = object_in(body) if len(body) <= MAX_ANSWER_BYTES else None
        if answer is None:
            return None
        broken = list(_broken(answer, self._wanted))
        if not broken:
            return None
        return await asyncio.get_running_loop().run_in_executor(_worker, _mended, answer, broken)


def healer(kind: RouteKind, fields: Json) -> Healer | None:
    """For such a request, if some of its answer should be JSON and it does not stream."""
    if not kind.generates or not isinstance(fields, dict) or fields.get("stream") is True:
        return None
    wanted = _wanted(fields)
    return Healer(wanted) if wanted is not None or fields.get("tools") else None


def _wanted(fields: dict[str, Any]) -> Wanted | None:
    text = fields.get("text")
    for asked in (fields.get("response_format"), text.get("format") if isinstance(text, dict) else None):
        if isinstance(asked, dict) and asked.get("type") == "json_object":
            return Wanted(object=True)
        if isinstance(asked, dict) and asked.get("type") == "json_schema":
            inner = asked.get("json_schema")  # in `text.format` the schema stands one level higher
            return _by_schema((inner if isinstance(inner, dict) else asked).get("schema"))
    structured = fields.get("structured_outputs")
    for asked in (structured if isinstance(structured, dict) else {}, {"json": fields.get("guided_json")}):
        if asked.get("json_object"):
            return Wanted(object=True)
        if asked.get("json") is not None:
            return _by_schema(asked["json"])
    return None


def _by_schema(schema: Json) -> Wanted:
    if isinstance(schema, str):
        schema = object_in(schema.encode("utf-8", "replace"))
    if not isinstance(schema, dict):
        return Wanted(object=False)
    required = schema.get("required")
    names = required if isinstance(required, list) else ()
    return Wanted(schema.get("type") == "object", frozenset(n for n in names if isinstance(n, str)))


class _Broken(NamedTuple):
    """Text at `holder[key]`, known as `place`. `cut`: by its token limit."""

    place: str
    holder: dict[str, Any]
    key: str
    wanted: Wanted
    cut: bool


def _broken(answer: dict[str, Any], wanted: Wanted | None) -> Iterator[_Broken]:
    for place, holder, key, told, cut in _texts(answer, wanted):
        text = holder.get(key)
        if isinstance(text, str) and text and not _parses(text):
            yield _Broken(place, holder, key, told, cut)


_ARGUMENTS = Wanted(object=True)

_Text = tuple[str, dict[str, Any], str, Wanted, bool]


def _texts(answer: dict[str, Any], wanted: Wanted | None) -> Iterator[_Text]:
    """All that should be JSON, in the shapes of chat, completions and responses."""
    for i, choice in _dicts(answer.get("choices")):
        cut = choice.get("finish_reason") == "length"
        message = choice.get("message")
        if wanted is not None:
            if isinstance(message, dict) and not message.get("tool_calls"):
                yield f"choices.{i}", message, "content", wanted, cut
            elif message is None:
                yield f"choices.{i}", choice, "text", wanted, cut
        for j, call in _dicts(message.get("tool_calls") if isinstance(message, dict) else None):
            if isinstance(call.get("function"), dict):
                yield f"choices.{i}.tool_calls.{j}", call["function"], "arguments", _ARGUMENTS, cut
    for i, item in _dicts(answer.get("output")):
        cut = "incomplete" in (answer.get("status"), item.get("status"))
        if item.get("type") == "function_call":
            yield f"output.{i}", item, "arguments", _ARGUMENTS, cut
        elif wanted is not None and item.get("type") == "message":
            for j, part in _dicts(item.get("content")):
                if part.get("type") == "output_text":
                    yield f"output.{i}.content.{j}", part, "text", wanted, cut


def _dicts(value: Json) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, each in enumerate(value if isinstance(value, list) else ()):
        if isinstance(each, dict):
            yield i, each


def _parses(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _mended(answer: dict[str, Any], broken: list[_Broken]) -> Mended:
    healed, failed = [], []
    for each in broken:
        if each.cut:
            failed.append(f"{each.place} (length)")
            continue
        text = _repaired(each.holder[each.key], each.wanted)
        if text is None:
            failed.append(each.place)
        else:
            each.holder[each.key] = text
            healed.append(each.place)
    body = msgspec.json.encode(answer) if healed else None
    return Mended(body, tuple(healed), tuple(failed))


def _repaired(text: str, wanted: Wanted) -> str | None:
    """None, if no such JSON is in it."""
    import json_repair  # noqa: PLC0415 - an extra

    if len(text) > MAX_TEXT_CHARS or not ("{" in text or "[" in text):
        return None
    try:
        found = json_repair.repair_json(text, return_objects=True, skip_json_loads=True)
        if not found or not isinstance(found, dict | list):
            return None
        # two objects behind each other come as a list: which of them was meant nobody knows
        if isinstance(found, list) and (wanted.object or "{" in text.partition("[")[0]):
            return None
        if not wanted.required <= (found.keys() if isinstance(found, dict) else wanted.required):
            return None
        repaired = json.dumps(found, ensure_ascii=False, allow_nan=False)
        repaired.encode()
    except (ValueError, RecursionError):
        return None
    except Exception:
        log.exception("json-repair failed")
        return None
    return repaired
