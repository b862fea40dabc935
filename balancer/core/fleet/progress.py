"""What shows that a replica works: what it owes, when it was last heard of, when its engine last moved.

A request is owed until its first token, or until its end where none is told of; sockets and routes that the engine does not
see owe nothing. Whoever reads slowly is owed nothing either: its first token has come.

An engine moves when anything of its page changes that a step sets (counters of tokens, requests running and waiting, KV-cache
usage). A chunk of a long prefill changes the last alone: prompt tokens are counted when the prefill ends
(vllm/v1/metrics/loggers.py). How long the engine has stood still and gone on is remembered, so that one whose steps are slow
is suspected once.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

from balancer.core.types import EngineSample, RequestView, RouteKind

_WITHOUT_ENGINE = frozenset({RouteKind.OTHER, RouteKind.TOKENIZE})
RECENT = 8
"""First tokens that are remembered."""
MOST_STANDSTILL_S = 60.0


class Attempt(Protocol):
    """What is asked of a charge."""

    @property
    def request(self) -> RequestView: ...
    @property
    def sent_at(self) -> float: ...
    @property
    def ended_at(self) -> float | None: ...
    @property
    def predicted_s(self) -> float | None: ...


class FirstToken(NamedTuple):
    sent_at: float
    took_s: float


class Progress:
    """`heard_s` is when the last first token or answer came, `heard_of_s` when the latest request of those was sent.
    `moved_s` is when the engine was first seen as it is now, `counted_s` since when every reading could tell, `unanswered_s`
    since when none was answered.
    """

    __slots__ = (
        "_state",
        "counted_s",
        "heard_of_s",
        "heard_s",
        "moved_s",
        "owed",
        "recent",
        "slowest_step_s",
        "unanswered_s",
        "working",
    )

    def __init__(self) -> None:
        self.owed: dict[Attempt, None] = {}
        self.recent: deque[FirstToken] = deque(maxlen=RECENT)
        self.heard_s = self.heard_of_s = self.moved_s = float("-inf")
        self.counted_s: float | None = None
        self.unanswered_s: float | None = None
        self.working = False  # by the engine's own account
        self.slowest_step_s = 0.0
        self._state: tuple[float | None, ...] = ()

    def __repr__(self) -> str:
        return f"<Progress {len(self.owed)} owed, heard {self.heard_s:.1f}, moved {self.moved_s}>"

    def sent(self, attempt: Attempt) -> None:
        if attempt.request.route not in _WITHOUT_ENGINE:
            self.owed[attempt] = None

    def first_token(self, attempt: Attempt, now: float) -> None:
        self.recent.append(FirstToken(attempt.sent_at, now - attempt.sent_at))
        self._heard(attempt, now)

    def ended(self, attempt: Attempt, now: float, *, answered: bool) -> None:
        if answered:
            self._heard(attempt, now)
        else:
            self.owed.pop(attempt, None)

    def _heard(self, attempt: Attempt, now: float) -> None:
        self.owed.pop(attempt, None)
        self.heard_s = now
        self.heard_of_s = max(self.heard_of_s, attempt.sent_at)

    def sampled(self, sample: EngineSample) -> None:
        self.unanswered_s = None
        if sample.generation_tokens is None and sample.prompt_tokens is None:
            self.counted_s = None  # a page that does not count tokens cannot tell
            return
        state = (
            sample.generation_tokens,
            sample.prompt_tokens,
            sample.running,
            sample.waiting,
            sample.kv_usage,
            sample.prefix_queries_tokens,
            sample.preemptions,
        )
        now = sample.taken_at
        if state != self._state:
            if self.working and self.counted_s is not None:
                stood_s = min(now - max(self.counted_s, self.moved_s), MOST_STANDSTILL_S)
                self.slowest_step_s = max(self.slowest_step_s, stood_s)
            self._state, self.moved_s = state, now
        if self.counted_s is None:
            self.counted_s = now
        self.working = bool(sample.running or sample.waiting)

    def unread(self, now: float, *, answered: bool) -> None:
        """A reading failed: in the meantime the engine may have moved."""
        self.counted_s = None
        if answered:
            self.unanswered_s = None
        elif self.unanswered_s is None:
            self.unanswered_s = now
