"""Plain HTTP for the tests against real vLLM: what a client sends and sees, with nothing between."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from itertools import groupby
from operator import itemgetter
from random import Random
from urllib.parse import urlsplit

from balancer.core.types import EngineSample
from balancer.vllm_api.metrics import scan

MODEL = "tiny"
TIMEOUT_S = 60
CHANGING = {"id", "item_id", "created", "created_at", "completed_at", "sequence_number"}
TEXT = {"text", "content", "delta"}
CACHE = {
    "cached_tokens",
    "cached_tokens_per_turn",
    "cache_read_input_tokens",
    "prompt_tokens_details",
    "input_tokens",
}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: HTTPMessage
    body: bytes

    def json(self):
        return json.loads(self.body)

    def events(self) -> list[tuple[str | None, object]]:
        """The server-sent events as (event name, data), data decoded where it is JSON; comments are left out."""
        return [_event(block) for block in self.body.decode().split("\n\n") if block and block[0] != ":"]


def _event(block: str) -> tuple[str | None, object]:
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    data = fields["data"]
    return fields.get("event"), data if data == "[DONE]" else json.loads(data)


@contextmanager
def connection(url: str, timeout_s: float = TIMEOUT_S) -> Iterator[HTTPConnection]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
    try:
        yield connection
    finally:
        connection.close()


def send(connection: HTTPConnection, path: str, body: object) -> None:
    """Ask, and do not wait for the answer. Bytes go as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, content, {"Content-Type": "application/json"})


def ask(url: str, path: str, body: object = None, timeout_s: float = TIMEOUT_S) -> Answer:
    with connection(url, timeout_s) as conn:
        if body is None:
            conn.request("GET", path)
        else:
            send(conn, path, body)
        response = conn.getresponse()
        return Answer(response.status, response.headers, response.read())


def engine(url: str) -> EngineSample:
    return scan(ask(url, "/metrics").body, taken_at=time.monotonic())


def until(condition: Callable[[], bool], within_s: float) -> bool:
    """Poll; a metrics page is the only news of an engine, and lags it by a step."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def steady(value: object) -> object:
    """An answer without what differs when the same is asked twice: ids, times, and what was cached by then."""
    if isinstance(value, dict):
        return {name: steady(item) for name, item in value.items() if name not in CHANGING | CACHE}
    if isinstance(value, list | tuple):
        return [steady(item) for item in value]
    return value


def script(events: list[tuple[str | None, object]]) -> list[tuple[object, str]]:
    """A stream as its steady events and their text, where events that differ in nothing but text are one.

    An engine that decodes faster than its server writes sends several tokens in one event; how many is chance.
    """
    parts = (_split(steady(event)) for event in events)
    return [(rest, "".join(text for _, text in group)) for rest, group in groupby(parts, key=itemgetter(0))]


def _split(value: object) -> tuple[object, str]:
    """Take the text out of an event: every string that stands under "text", "content" or "delta"."""
    if isinstance(value, dict):
        split = {name: _split(item) for name, item in value.items()}
        for name in TEXT & value.keys():
            if isinstance(value[name], str):
                split[name] = ("", value[name])
        return {name: rest for name, (rest, _) in split.items()}, "".join(text for _, text in split.values())
    if isinstance(value, list):
        split = [_split(item) for item in value]
        return [rest for rest, _ in split], "".join(text for _, text in split)
    return value, ""


def prose(rng: Random, words: int) -> str:
    """Text that no other test has sent: about 2.5 tokens a word."""
    return " ".join("".join(rng.choices("abcdefghijklmnoprstuvw", k=5)) for _ in range(words))
