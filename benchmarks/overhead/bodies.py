"""The requests of the benchmark: seeded, so that every arm gets the same bytes in the same order.

A long body is a conversation: system prompt and earlier turns are shared by many requests, the last turn is new in
each. A router that keeps prefixes finds some, and has something to learn from every request.
"""

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import wire
from benchmarks.load.client import Expected, Request, post

PATH = "/v1/chat/completions"
STREAM_CHUNKS = 128
_CONVERSATIONS = 64
_SLOT = "\x00"

_WORDS = """
the a of to and in for with on that it is we our this are by from as which replica prefix block cache
queue prefill decode token batch scheduler latency throughput memory request stream model prompt answer
tool function index worker tensor layer kernel paper study result table figure method sample error value
measure compare explain write read return change find build test deploy why how when where because
although however therefore first second new large small fast slow shared same other each between naïve
café résumé π ≤
""".split()  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class Body:
    """`size_bytes` is about what a body weighs; None leaves a bare question. A stream that is not paced comes as fast
    as its backend can write, an event a turn of its event loop.
    """

    name: str
    size_bytes: int | None
    stream: bool = False
    chunks: int = STREAM_CHUNKS
    paced: bool = True

    @property
    def expected(self) -> Expected:
        if self.stream:
            return Expected(wire.stream_bytes(self.chunks), wire.STREAM_END)
        return Expected(len(wire.ANSWER), wire.ANSWER[-16:])


BODIES = {
    body.name: body
    for body in (
        Body("small", None),
        Body("8k", 8 * 1024),
        Body("64k", 64 * 1024),
        Body("stream", None, stream=True, paced=False),
        Body("paced", None, stream=True),
    )
}


def requests(body: Body, port: int, *, start: int = 0, seed: int = 1) -> Iterator[Request]:
    """Endless requests from number `start` on; no two have the same last turn."""
    rng = random.Random(f"{body.name}/{seed}")
    templates = [_template(body, rng) for _ in range(_CONVERSATIONS if body.size_bytes else 1)]
    questions = [_sentence(rng, 6) for _ in range(997)]
    for number in itertools.count(start):
        before, after = templates[number % len(templates)]
        question = f"Question {number:08d}: {questions[number % len(questions)]}"
        content = before + json.dumps(question)[1:-1].encode() + after
        yield post(PATH, f"127.0.0.1:{port}", content, body.expected)


def _template(body: Body, rng: random.Random) -> tuple[bytes, bytes]:
    """A body as the bytes before and after its last turn."""
    messages = [{"role": "user", "content": _SLOT}]
    if body.size_bytes:
        messages = [
            {"role": "system", "content": _SYSTEM},
            *_history(body.size_bytes - len(_SYSTEM), rng),
            *messages,
        ]
    fields: dict[str, object] = {"model": wire.MODEL, "messages": messages}
    if body.stream:
        fields |= {"max_tokens": body.chunks, "stream": True, "ignore_eos": not body.paced}
    before, after = json.dumps(fields).split(json.dumps(_SLOT)[1:-1])
    return before.encode(), after.encode()


def _history(size_bytes: int, rng: random.Random) -> list[dict[str, str]]:
    """Turns of user and assistant, in pairs, until they weigh `size_bytes` as JSON."""
    turns: list[dict[str, str]] = []
    weight = 0
    while weight < size_bytes - 400 or len(turns) % 2:
        role = "assistant" if len(turns) % 2 else "user"
        left = max(300, size_bytes - weight - 200)
        turns.append({"role": role, "content": _text(rng, min(left, 400 if role == "user" else 1600))})
        weight += len(json.dumps(turns[-1]))
    return turns


def _text(rng: random.Random, size_bytes: int) -> str:
    paragraphs: list[str] = []
    weight = 0
    while weight < size_bytes:
        paragraphs.append(
            f'```python\nreturn index["{rng.choice(_WORDS)}"]\n```'
            if rng.random() < 0.05
            else _sentence(rng, 14)
        )
        weight += len(json.dumps(paragraphs[-1]))
    return "\n".join(paragraphs)


def _sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=words)).capitalize() + "."


_SYSTEM = "You are a careful assistant. " + _text(random.Random("system"), 1500)
