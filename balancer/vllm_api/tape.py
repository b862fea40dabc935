"""What a client was given of a chat or completions stream, as far as another replica needs it to go on from there.

Recording must cost a stream next to nothing, since hardly any breaks: events are kept as they came, and read only when there
are many of them, or when they are asked for.

    text    what was delivered; ids may run ahead of it by part of a character, which the detokenizer holds back
    tokens  events that brought text up to there: one token each, unless the replica gathers them
    ids     token ids, where the replica tells them (`return_token_ids`), up to the last event that brought text by one id: there
            alone ids and text are known to stand at the same place, which is `synced_text`

What comes after that is generated again, unless the answer is at its end, and the client is not given it twice.
"""

from dataclasses import dataclass, field

import msgspec

from balancer.core.types import Json
from balancer.vllm_api.answers import read_usage
from balancer.vllm_api.events import payloads

FOLD_BYTES = 48 * 1024
"""Some 200 tokens: most answers are never read."""
MAX_TEXT_BYTES = 4 * 1024 * 1024
"""More than this is not gone on from."""


_NULL = msgspec.Raw(b"null")


class _Delta(msgspec.Struct):
    role: Json = None
    content: str | None = None
    reasoning: Json = None
    reasoning_content: Json = None
    tool_calls: Json = None
    function_call: Json = None
    refusal: Json = None
    audio: Json = None

    @property
    def beyond_text(self) -> bool:
        return bool(
            self.reasoning
            or self.reasoning_content
            or self.tool_calls
            or self.function_call
            or self.refusal
            or self.audio
        )


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    logprobs: Json = None
    finish_reason: str | None = None
    token_ids: list[int] | None = None
    prompt_token_ids: msgspec.Raw = _NULL


class _Chunk(msgspec.Struct):
    id: str
    created: int
    model: str
    choices: list[_Choice]
    prompt_token_ids: msgspec.Raw = _NULL
    usage: Json = None


_chunk = msgspec.json.Decoder(_Chunk)
_ids = msgspec.json.Decoder(list[int] | None)


@dataclass(slots=True)
class Delivered:
    """`sound`: every event was understood, and none brought more than text of one choice."""

    id: str = ""
    created: int = 0
    model: str = ""
    text: str = ""
    synced_text: str = ""
    tokens: int = 0
    ids: list[int] = field(default_factory=list)
    prompt_ids: list[int] | None = None
    prompt_tokens: int | None = None
    finish_reason: str | None = None
    usage_told: bool = False
    sound: bool = True


class Tape:
    __slots__ = (
        "_delivered",
        "_events",
        "_given",
        "_late_ids",
        "_late_tokens",
        "_prompt_ids",
        "_synced",
        "_texts",
        "_texts_bytes",
    )

    def __init__(self) -> None:
        self._delivered = Delivered()
        self._events = bytearray()
        self._texts: list[str] = []
        self._texts_bytes = 0
        self._synced = 0  # of the texts: those that the ids reach
        self._given = ""  # by the legs before this one
        self._late_ids: list[int] = []
        self._late_tokens = 0
        self._prompt_ids = b""  # as they came: a long prompt's are many, and seldom needed

    def __repr__(self) -> str:
        return f"<Tape of {self._texts_bytes + len(self._events)} bytes>"

    def feed(self, events: bytes) -> None:
        """Whole events, as the replica sent them, which the client is being given."""
        self._events += events
        if len(self._events) > FOLD_BYTES:
            self._fold()

    def delivered(self) -> Delivered:
        """All of it, when the stream has broken."""
        self._fold()
        delivered = self._delivered
        text = "".join(self._texts)
        # a leg that broke early may not have come to where the one before it stood
        delivered.text = text if len(text) > len(self._given) else self._given
        delivered.synced_text = "".join(self._texts[: self._synced])
        if delivered.prompt_ids is None and self._prompt_ids:
            try:
                delivered.prompt_ids = _ids.decode(self._prompt_ids)
            except msgspec.MsgspecError:
                delivered.sound = False
        return delivered

    def rewind(self, text: str) -> None:
        """What is fed next goes on from this text, a beginning of what was delivered."""
        self._given = self._delivered.text
        self._texts = [text]
        self._synced = 1
        self._late_ids = []
        self._late_tokens = 0

    def _fold(self) -> None:
        events = bytes(self._events)
        self._events.clear()
        if not self._delivered.sound:
            return
        lines = b"\n".join(data for data in payloads(events) if data != b"[DONE]")
        try:
            chunks = _chunk.decode_lines(lines)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._delivered.sound = False
            return
        for chunk in chunks:
            self._add(chunk)
        if self._texts_bytes > MAX_TEXT_BYTES:
            self._delivered.sound = False
        if not self._delivered.sound:
            self._texts = []

    def _add(self, chunk: _Chunk) -> None:
        so_far = self._delivered
        if not so_far.id:
            so_far.id, so_far.created, so_far.model = chunk.id, chunk.created, chunk.model
        if not self._prompt_ids:
            told = [chunk.prompt_token_ids, *(choice.prompt_token_ids for choice in chunk.choices)]
            self._prompt_ids = next((bytes(ids) for ids in told if ids != _NULL), b"")
        if so_far.prompt_tokens is None and (usage := read_usage(chunk.usage)) is not None:
            so_far.prompt_tokens = usage.prompt_tokens
        if not chunk.choices:
            so_far.usage_told = so_far.usage_told or chunk.usage is not None
        for choice in chunk.choices:
            if choice.index or choice.logprobs or (choice.delta is not None and choice.delta.beyond_text):
                so_far.sound = False
            self._add_text(choice)

    def _add_text(self, choice: _Choice) -> None:
        delta = choice.delta
        text = choice.text if delta is None else delta.content
        if delta is not None and delta.role and not text and not choice.token_ids:
            return  # it only begins the message
        ids = choice.token_ids or []
        self._late_ids += ids
        self._late_tokens += 1
        ends = choice.finish_reason is not None
        if text:
            self._texts.append(text)
            self._texts_bytes += len(text)
        if ends:
            self._delivered.finish_reason = choice.finish_reason
        if text or ends:
            self._delivered.tokens += self._late_tokens
            self._late_tokens = 0
        if ends or (text and len(ids) == 1):
            self._delivered.ids += self._late_ids
            self._late_ids = []
            self._synced = len(self._texts)
