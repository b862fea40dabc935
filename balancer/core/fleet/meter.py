"""What a replica has done so far, as sums over time: the difference between two moments says what else it was busy with
while a request was prefilled or decoded there.
"""

from typing import NamedTuple


class Mark(NamedTuple):
    """Where the sums stood."""

    at_s: float
    sequence_seconds: float
    context_seconds: float
    prefilled_tokens: float
    attention: float


class Passed(NamedTuple):
    """Between a mark and now: seconds, prompt tokens whose prefill ended, the sum of these * their context, and the means
    over that time of the sequences that decoded and of their context tokens.
    """

    seconds: float
    prefilled_tokens: float
    attention: float
    sequences: float
    context_tokens: float


class Meter:
    __slots__ = (
        "_at_s",
        "_attention",
        "_context_seconds",
        "_context_tokens",
        "_prefilled",
        "_sequence_seconds",
        "_sequences",
    )

    def __init__(self) -> None:
        self._at_s = 0.0
        self._sequences = 0
        self._context_tokens = 0.0
        self._sequence_seconds = 0.0
        self._context_seconds = 0.0
        self._prefilled = 0.0
        self._attention = 0.0

    def mark(self, now: float) -> Mark:
        self._tick(now)
        return Mark(now, self._sequence_seconds, self._context_seconds, self._prefilled, self._attention)

    def since(self, mark: Mark, now: float) -> Passed:
        self._tick(now)
        seconds = max(now - mark.at_s, 1e-6)
        return Passed(
            seconds,
            self._prefilled - mark.prefilled_tokens,
            self._attention - mark.attention,
            (self._sequence_seconds - mark.sequence_seconds) / seconds,
            (self._context_seconds - mark.context_seconds) / seconds,
        )

    def prefilled(self, tokens: int, cached_tokens: int) -> None:
        self._prefilled += tokens
        self._attention += tokens * (cached_tokens + tokens / 2)

    def decodes(self, context_tokens: float, now: float) -> None:
        self._tick(now)
        self._sequences += 1
        self._context_tokens += context_tokens

    def decodes_no_more(self, context_tokens: float, now: float) -> None:
        self._tick(now)
        self._sequences -= 1
        self._context_tokens = self._context_tokens - context_tokens if self._sequences else 0.0

    def _tick(self, now: float) -> None:
        passed = now - self._at_s
        self._at_s = now
        self._sequence_seconds += self._sequences * passed
        self._context_seconds += self._context_tokens * passed
