"""Words for lengths: how many of them make so many tokens of the target's, and which they are."""

from dataclasses import dataclass
from hashlib import shake_128

from balancer.core.request.tokens import BYTES_PER_TOKEN
from balancer.embedded.words import WORDS

_BYTES_PER_WORD = sum(len(word) + 1 for word in WORDS) / len(WORDS)

BY_TOKENIZER, BY_BYTES = "tokenizer", "bytes"


@dataclass(frozen=True, slots=True)
class Template:
    """Tokens that the target's chat template adds: to a prompt of one user message; more where a system message is before
    it; and more for each answer and user message that follow.
    """

    prompt: int = 0
    system: int = 0
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Texts:
    """The target's measure of text, and whether its tokenizer gave it."""

    words_per_token: float
    template: Template = Template()
    counted_by: str = BY_TOKENIZER

    def words(self, tokens: int) -> int:
        return round(tokens * self.words_per_token)


def by_bytes(bytes_per_token: float = BYTES_PER_TOKEN) -> Texts:
    """For a target whose tokenizer cannot be asked."""
    if not 0.5 <= bytes_per_token <= 16:
        raise ValueError(f"--bytes-per-token: expected 0.5 to 16, got {bytes_per_token:g}")
    return Texts(bytes_per_token / _BYTES_PER_WORD, counted_by=BY_BYTES)


def spell(name: str, words: int) -> str:
    """So many words, the same for the same name: of a longer text the beginning is the shorter one."""
    return " ".join(map(WORDS.__getitem__, shake_128(name.encode()).digest(words)))
