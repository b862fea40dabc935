"""What clients will send, word for word but for the answers that they get: requests in conversations, each with its time.

A script is made before the run and depends on nothing that happens in it, so every arm of a comparison plays the same one,
and its digest says so.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

CHAT_PATH = "/v1/chat/completions"
COMPLETIONS_PATH = "/v1/completions"


def bounds(output_tokens: int, *, ignore_eos: bool) -> dict[str, Any]:
    """The fields of a body that make an answer so long: no target but a vLLM knows `ignore_eos`."""
    fields: dict[str, Any] = {"max_tokens": output_tokens, "temperature": 0}
    return {**fields, "ignore_eos": True} if ignore_eos else fields


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    `body` lacks `model`, which the target names, and `stream`, which the client adds as `stream` says. In a conversation that
    remembers, its `messages` are only what is new: the client puts all that was said before in front, with the answers it
    really got. `think_s` passes between the end of the answer before it and this request. `background` conversations begin
    when it has been answered, and all end before the next think time begins. `leaves_after_s`: the client hangs up then.
    `output_tokens` is how long the answer should be, where the body bounds it to that; `prompt_tokens`, how long the whole
    prompt is meant to be; `label` groups requests in reports ("batch", "hard").
    """

    path: str
    body: Mapping[str, Any]
    think_s: float = 0.0
    background: tuple["Conversation", ...] = ()
    leaves_after_s: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    label: str = ""
    stream: bool = True


@dataclass(frozen=True, slots=True)
class Conversation:
    """Requests in sequence. `arrival_s` is when the first is sent, from the beginning of the script; in a background
    conversation, after its parent's answer. `name` is what a client would send as its session header.
    """

    arrival_s: float
    name: str
    asks: tuple[Ask, ...]
    remembers: bool = True


@dataclass(frozen=True, slots=True)
class Script:
    """Requests sent from `start_s` to `end_s` are measured; what comes before warms up. No conversation begins, and no
    later turn of one, from `end_s` on. `then` begins, at its own time 0, when all of this one has been answered.
    """

    name: str
    conversations: tuple[Conversation, ...]
    start_s: float
    end_s: float
    then: "Script | None" = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What it was made from: seed, rate, load, scale, source; for reports, not for the client."""

    def stages(self) -> Iterator["Script"]:
        stage: Script | None = self
        while stage is not None:
            yield stage
            stage = stage.then

    def digest(self) -> str:
        """Of all that clients will send, and when: equal digests are equal load."""
        told = hashlib.sha256()
        for stage in self.stages():
            told.update(json.dumps([stage.start_s, stage.end_s]).encode())
            for conversation in stage.conversations:
                told.update(json.dumps(asdict(conversation), sort_keys=True).encode())
        return told.hexdigest()[:16]
