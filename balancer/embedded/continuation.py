"""What a model without weights says: a pure function of the tokens before it. No I/O, no state.

Each token depends on all tokens before it and on nothing else, as in greedy decoding. Hence the same prompt has the
same answer on every replica, and going on from prompt + part of the answer, by token ids or by text, gives the rest
of the same answer, its end too. Sampling parameters and seeds change nothing; each choice of `n` has its own text.

Every token ends the answer with probability 1/200, but for one right after a control token: lengths are geometric with
a mean of about 200, and the answer of a chat is never empty.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import xxhash

from balancer.embedded.engine import hash_blocks
from balancer.embedded.tokenizer import CONTINUING, END_OF_TEXT, FULL_STOP, OPENING, SPECIAL_IDS

MEAN_OUTPUT_TOKENS = 200
_FOLD = 16  # tokens folded into the running hash at a time
_ENDS_BELOW = 2**32 // MEAN_OUTPUT_TOKENS
_WORD_IDS = frozenset(token for token, _ in (*CONTINUING, *OPENING))


@dataclass(frozen=True, slots=True)
class Limits:
    """Where an answer ends, beside its natural end."""

    max_tokens: int
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    stop_token_ids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Continuation:
    """A whole answer: token ids and the text of each, `finish_reason` and `stop_reason` as in OpenAI's API."""

    token_ids: list[int]
    pieces: list[str]
    finish_reason: str
    stop_reason: str | int | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def continuation(prompt: Sequence[int], limits: Limits, choice: int = 0) -> Continuation:
    """The answer to `prompt`, `limits.max_tokens` (at least 1) long at most."""
    digest = xxhash.xxh3_64_intdigest
    folded = hash_blocks(prompt, _FOLD, choice)
    parent = folded[-1] if folded else choice
    tail = array("I", prompt[len(folded) * _FOLD :])
    last = prompt[-1] if prompt else END_OF_TEXT
    token_ids: list[int] = []
    pieces: list[str] = []
    finish_reason, stop_reason = "length", None
    while len(token_ids) < limits.max_tokens:
        draw = digest(tail.tobytes(), seed=parent)
        may_end = last >= SPECIAL_IDS and not limits.ignore_eos and len(token_ids) >= limits.min_tokens
        if may_end and draw >> 32 < _ENDS_BELOW:
            token, piece = END_OF_TEXT, ""
            finish_reason = "stop"
        elif last < SPECIAL_IDS:
            token, piece = OPENING[draw % len(OPENING)]
        elif last in _WORD_IDS and draw >> 16 & 15 == 0:
            token, piece = FULL_STOP
        else:
            token, piece = CONTINUING[draw % len(CONTINUING)]
        token_ids.append(token)
        pieces.append(piece)
        if token == END_OF_TEXT:
            break
        if token in limits.stop_token_ids and len(token_ids) > limits.min_tokens:
            pieces[-1] = ""
            return Continuation(token_ids, pieces, "stop", token)
        last = token
        tail.append(token)
        if len(tail) == _FOLD:
            parent = digest(tail.tobytes(), seed=parent)
            tail = array("I")
    if limits.stop and (cut := _cut_at_stop(token_ids, pieces, limits)) is not None:
        return cut
    return Continuation(token_ids, pieces, finish_reason, stop_reason)


def _cut_at_stop(token_ids: list[int], pieces: list[str], limits: Limits) -> Continuation | None:
    """Ends the answer with the token that completes a stop string; the text ends before that string."""
    text = "".join(pieces)
    ignored = sum(map(len, pieces[: limits.min_tokens]))
    found = [(at + len(stop), at, stop) for stop in limits.stop if (at := text.find(stop, ignored)) >= 0]
    if not found:
        return None
    end, at, stop = min(found)
    kept: list[str] = []
    position = 0
    for piece in pieces:
        kept.append(piece[: max(0, at - position)])
        position += len(piece)
        if position >= end:
            break
    return Continuation(token_ids[: len(kept)], kept, "stop", stop)
