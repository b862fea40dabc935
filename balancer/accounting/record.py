"""The record of one request."""

from dataclasses import dataclass

from balancer.core.types import Usage


@dataclass(slots=True)
class Record:
    """Times are seconds on the monotonic clock. `status` is what the client was told, 499 if it left before.

    `ended_by` says who ended the request: `answer`, `refusal` (ours), `client` (it left) or `replica` (it broke off).
    """

    path: str
    arrived_at: float
    model: str | None = None
    replica: str | None = None
    reason: str = ""
    status: int = 0
    ended_by: str = "answer"
    attempts: int = 0
    matched_tokens: int = 0
    token_at: float | None = None
    ended_at: float = 0.0
    usage: Usage | None = None
    output_events: int = 0
