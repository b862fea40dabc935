"""Traffic to a script: words for every length, the same words for the same key.

A prompt is the texts of its whole blocks, and behind the last of them words of the session's own. So two prompts have the
same beginning as far as their keys say, and to the end of the system prompt where both have the same.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from balancer.core.scheduling.indexed import BLOCK_TOKENS
from benchmarks.workloads.groups import FILL
from benchmarks.workloads.script import CHAT_PATH, Ask, Conversation, Script, bounds
from benchmarks.workloads.texts import Texts, spell
from benchmarks.workloads.traffic import Session, Traffic, Turn

_KEPT_BLOCKS = 50_000
"""Texts of blocks in memory: those that sessions share are made once."""


def render(
    traffic: Traffic,
    texts: Texts,
    *,
    name: str,
    seed: int,
    facts: Mapping[str, Any] | None = None,
    ignore_eos: bool = True,
) -> Script:
    """`ignore_eos` makes answers as long as was drawn; a target that is no vLLM may refuse it."""
    writer = _Writer(texts, f"{name} {seed}", ignore_eos=ignore_eos)
    stages = [traffic]
    while stages[-1].then is not None:
        stages.append(stages[-1].then)
    script = None
    for stage in reversed(stages):
        conversations = tuple(
            writer.conversation(session, f"{stage.name} {number}")
            for number, session in enumerate(stage.sessions)
        )
        start_s = stage.end_s if stage.name == FILL else stage.start_s
        script = Script(stage.name or name, conversations, start_s, stage.end_s, script, dict(facts or {}))
    assert script is not None
    return script


class _Writer:
    """`salt` tells the texts of one script from those of another."""

    def __init__(self, texts: Texts, salt: str, *, ignore_eos: bool) -> None:
        self._texts = texts
        self._salt = salt
        self._block_words = max(1, texts.words(BLOCK_TOKENS))
        self._ignore_eos = ignore_eos
        self._block = lru_cache(_KEPT_BLOCKS)(lambda key: self._spell(f"block {key}", self._block_words))

    def conversation(self, session: Session, place: str) -> Conversation:
        """`place` is where in the script it stands, which no other conversation has."""
        asks = []
        before: Turn | None = None
        for number, turn in enumerate(session.turns):
            if before is None:
                said = self._opening(session, turn, place)
            else:
                said = self._going_on(before, turn, f"{place} turn {number}")
            asks.append(
                Ask(
                    session.path,
                    {**said, **bounds(turn.output_tokens, ignore_eos=self._ignore_eos)},
                    turn.think_s,
                    tuple(
                        self.conversation(child, f"{place} turn {number} child {which}")
                        for which, child in enumerate(turn.background)
                    ),
                    prompt_tokens=turn.prompt_tokens,
                    output_tokens=turn.output_tokens,
                    label=session.label,
                    stream=session.stream,
                )
            )
            before = turn
        return Conversation(session.arrival_s, session.user, tuple(asks))

    def _opening(self, session: Session, turn: Turn, place: str) -> dict[str, Any]:
        chat = session.path == CHAT_PATH
        if session.text is not None:
            return {"messages": [_message("user", session.text)]} if chat else {"prompt": session.text}
        own = session.user if session.repeats else place
        keys = session.prompt_keys(turn)
        added_tokens, system_words = self._texts.template.prompt if chat else 0, 0
        messages = []
        if chat and session.system is not None:
            added_tokens += self._texts.template.system
            system_words = max(1, self._texts.words(session.system.tokens))
            shared = keys[: session.system.tokens // BLOCK_TOKENS]
            text = self._passage(shared, f"system {session.system.number}", 0, system_words)
            messages.append(_message("system", text))
        end = max(system_words + 1, self._texts.words(turn.prompt_tokens - added_tokens))
        text = self._passage(keys, f"end {own}", system_words, end)
        return {"messages": [*messages, _message("user", text)]} if chat else {"prompt": text}

    def _going_on(self, before: Turn, turn: Turn, place: str) -> dict[str, Any]:
        new_tokens = turn.prompt_tokens - before.prompt_tokens - before.output_tokens
        words = max(1, self._texts.words(new_tokens - self._texts.template.turn))
        return {"messages": [_message("user", self._spell(place, words))]}

    def _passage(self, keys: list[int], end_name: str, begin: int, end: int) -> str:
        """Words `begin` to `end` of the blocks' texts with endless others behind them."""
        size = self._block_words
        pieces = []
        for place in range(begin // size, min(len(keys), -(-end // size))):
            block = self._block(keys[place])
            first, last = max(0, begin - place * size), min(size, end - place * size)
            pieces.append(block if last - first == size else " ".join(block.split()[first:last]))
        left = end - max(begin, len(keys) * size)
        if left > 0:
            pieces.append(self._spell(end_name, left))
        return " ".join(pieces)

    def _spell(self, what: str, words: int) -> str:
        return spell(f"{self._salt} {what}", words)


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
