"""What became of one request, as its client saw it. Times are seconds since the run began."""

from array import array
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """`ANSWERED` alone is success; the others are counted as what they are, and are in no latency."""

    ANSWERED = "answered"
    SHED = "shed"
    """Refused for load: 429 or 503, as a status or as an error event."""
    REFUSED = "refused"
    """Any other 4xx: the request itself was found wrong."""
    FAILED = "failed"
    """5xx, an error event, a lost connection, an answer that broke off or had no end mark."""
    TIMED_OUT = "timed out"
    """The client's patience ended."""
    LEFT = "left"
    """The client hung up, as it had meant to."""
    UNFINISHED = "unfinished"
    """Under way when the run was interrupted."""


@dataclass(slots=True, eq=False)
class Record:
    """`due_s` is when the request ought to have left: a late client is charged to the latencies (coordinated omission).

    `token_s` has one time for each event that brought content, whatever it is called (text, reasoning, tool calls): comments
    and events with a role only are none. An answer that is not streamed has none at all, so no TTFT either: its first content is
    its end. Token counts are by the answer's `usage`, None where it told none.
    """

    conversation: str
    turn: int
    label: str
    path: str
    due_s: float
    measured: bool
    stage: str = ""
    sent_s: float | None = None
    status: int | None = None
    headers_s: float | None = None
    token_s: "array[float]" = field(default_factory=lambda: array("d"))
    ended_s: float | None = None
    outcome: Outcome = Outcome.UNFINISHED
    error: str = ""
    """Why it was no success, in few words and without ids, so that equal errors count together."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    replica: str | None = None
    """Where the answer's headers say who served it (x-balancer-replica, or the target's own name for it)."""

    @property
    def ttft_s(self) -> float | None:
        """From when it ought to have left to the first content."""
        return self.token_s[0] - self.due_s if self.token_s else None

    @property
    def e2e_s(self) -> float | None:
        return None if self.ended_s is None else self.ended_s - self.due_s

    @property
    def tpot_s(self) -> float | None:
        """Mean seconds a token from the first content to the last, as `vllm bench serve` counts it: usage and end mark come
        later. None for one token and for whole answers.
        """
        if not self.token_s or not self.output_tokens or self.output_tokens < 2:
            return None
        return (self.token_s[-1] - self.token_s[0]) / (self.output_tokens - 1)

    @property
    def itl_s(self) -> list[float]:
        """Gaps between events that brought content."""
        return [later - earlier for earlier, later in zip(self.token_s, self.token_s[1:], strict=False)]
