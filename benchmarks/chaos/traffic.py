"""A seeded mixed load whose right answers are known beforehand: the embedded model is a pure function of its prompt.

Streams and whole answers, chats and completions, conversations of several turns, clients that leave, clients that read
slowly. The same seed gives the same requests in the same order, whatever becomes of them.
"""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from balancer.embedded.continuation import Limits, continuation
from balancer.embedded.prompts import Message, render_chat
from balancer.embedded.tokenizer import Tokenizer
from balancer.embedded.words import WORDS
from benchmarks.chaos.replica import MODEL
from benchmarks.chaos.verdict import Truth

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"

_CONVERSATIONS = 60
_TURNS = 6
_OUTPUT_TOKENS = (20, 60)
_SLOW_OUTPUT_TOKENS = (100, 150)
_LEAVES = 0.2
_SLOW = 0.04
_LOGPROBS = 0.03  # streams that can't be resumed


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `leaves_after_s` and `leaves_after_events` are for a client that goes away; `resumable` says that no
    fault which leaves a healthy replica excuses a failure.
    """

    path: str
    body: bytes
    truth: Truth
    stream: bool
    kind: str
    resumable: bool = True
    leaves_after_s: float | None = None
    leaves_after_events: int | None = None
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Mix:
    """`output_tokens` are bounds of what is asked for; slow readers get more."""

    output_tokens: tuple[int, int] = _OUTPUT_TOKENS
    leaves: float = _LEAVES
    leaves_within_s: float = 0.3
    slow: float = _SLOW


class Traffic:
    def __init__(self, seed: int, mix: Mix | None = None) -> None:
        self._rng = Random(seed)
        self._mix = mix or Mix()
        self._tokenizer = Tokenizer()
        self._conversations: list[list[Message]] = [[] for _ in range(_CONVERSATIONS)]
        self._turn = 0

    def asks(self) -> Iterator[Ask]:
        while True:
            yield self._habits(self._question())

    def _question(self) -> Ask:
        rng = self._rng
        share = rng.random()
        if share < 0.2:
            return self._converse()
        if share < 0.6:
            chat = [_message("user", self._prose(10, 120))]
            return self._chat(chat, "chat", stream=rng.random() < 0.75)
        return self._completion(self._prose(5, 150), stream=rng.random() < 0.7)

    def _converse(self) -> Ask:
        """The next turn of a conversation, on top of what the model surely said in the last one."""
        at = self._turn = (self._turn + 1) % _CONVERSATIONS
        if len(self._conversations[at]) > 2 * _TURNS:
            self._conversations[at] = []
        turns = self._conversations[at]
        if not turns:
            turns.append(_message("system", self._prose(50, 100)))
        turns.append(_message("user", self._prose(5, 40)))
        ask = self._chat(turns, "turn", stream=True)
        turns.append(_message("assistant", ask.truth.text))
        return ask

    def _chat(self, messages: list[Message], kind: str, *, stream: bool) -> Ask:
        prompt = render_chat(self._tokenizer, messages)
        spelled = [{"role": message.role, "content": message.content} for message in messages]
        return self._ask(CHAT, {"messages": spelled}, prompt, kind, stream=stream)

    def _completion(self, text: str, *, stream: bool) -> Ask:
        return self._ask(COMPLETIONS, {"prompt": text}, self._tokenizer.encode(text), "text", stream=stream)

    def _ask(self, path: str, what: dict[str, Any], prompt: list[int], kind: str, *, stream: bool) -> Ask:
        rng = self._rng
        slow = stream and rng.random() < self._mix.slow
        tokens = rng.randint(*(_SLOW_OUTPUT_TOKENS if slow else self._mix.output_tokens))
        body: dict[str, Any] = {"model": MODEL, **what, "max_tokens": tokens, "temperature": 0}
        logprobs = stream and not slow and rng.random() < _LOGPROBS
        if stream:
            body["stream"] = True
            if rng.random() < 0.5:
                body["stream_options"] = {"include_usage": True}
        if logprobs:
            body["logprobs"] = True if path == CHAT else 1
        answer = continuation(prompt, Limits(tokens))
        truth = Truth(answer.text, answer.finish_reason, len(prompt), len(answer.token_ids))
        return Ask(
            path,
            json.dumps(body, separators=(",", ":")).encode(),
            truth,
            stream,
            "logprobs" if logprobs else kind if stream else f"{kind}, whole",
            resumable=not logprobs,
            slow=slow,
        )

    def _habits(self, ask: Ask) -> Ask:
        rng = self._rng
        if ask.slow or rng.random() >= self._mix.leaves:
            return ask
        if ask.stream and rng.random() < 0.6:
            return dataclasses.replace(ask, leaves_after_events=rng.randint(1, self._mix.output_tokens[0]))
        return dataclasses.replace(ask, leaves_after_s=rng.uniform(0.0, self._mix.leaves_within_s))

    def _prose(self, least: int, most: int) -> str:
        rng = self._rng
        return " ".join(rng.choices(WORDS, k=rng.randint(least, most)))


def _message(role: str, content: str) -> Message:
    return Message(role=role, content=content)
