"""How many may wait, how long, and what those are told who may not."""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil

from balancer.core.errors import Refused, deadline_passed, overloaded

LEAST_RETRY_S = 1
MOST_RETRY_S = 60


class Reason(StrEnum):
    """Why a request was refused that would have had to wait, or did."""

    FULL = "queue_full"
    PUSHED_OUT = "pushed_out"
    WAITED = "waited_too_long"
    DEADLINE = "deadline"


_TOLD = {
    Reason.FULL: "Every replica of this model is busy, and as many requests wait already as may.",
    Reason.PUSHED_OUT: "Every replica of this model is busy, and requests that go first took the places in the queue.",
    Reason.WAITED: "No replica had room for this request for as long as it may wait.",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_waiting` is for each model; 0: nobody waits, None: no bound."""

    max_waiting: int | None = None
    max_wait_s: float | None = None
    overload_status: int = 503

    def refusal(self, reason: Reason, drained_in_s: float) -> Refused:
        """`drained_in_s`: when those who wait now are expected to have gone."""
        if reason is Reason.DEADLINE:
            return deadline_passed()
        retry_after_s = min(MOST_RETRY_S, max(LEAST_RETRY_S, ceil(drained_in_s)))
        return overloaded(self.overload_status, _TOLD[reason], retry_after_s)
