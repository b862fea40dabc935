"""The record of one request."""

from dataclasses import dataclass, field

from balancer.core.tiering.types import Target
from balancer.core.types import Usage


@dataclass(slots=True)
class Tiered:
    """What was chosen for a request that asked for a virtual model, and what it was chosen by: `score` is None where no
    classifier was asked, `propensity` the probability of the tier that was chosen first, `shadow` the tier that would have been
    chosen, `left` the tiers that failed before, each with why.

    `options` are the tiers that might have served it, the weakest first, each with what it would have cost for the same tokens,
    None where no price is known. `arm` is EXPERIMENT/ARM. `text` is the last user turn, bounded: nobody writes it anywhere unless
    the settings allow it.
    """

    asked: str
    tier: str
    model: str
    reason: str
    rule: str = ""
    score: float | None = None
    spread: float | None = None
    threshold: float | None = None
    propensity: float = 1.0
    arm: str = ""
    shadow: str = ""
    left: tuple[tuple[str, str], ...] = ()
    usd: float | None = None
    tenant: str = ""
    conversation: bytes = b""
    explored: bool = False
    target: Target | None = None
    options: tuple[tuple[str, float | None], ...] = ()
    text: str = field(default="", repr=False)


@dataclass(slots=True)
class Record:
    """Times are seconds on the monotonic clock. `status` is what the client was told, 499 if it left before.

    `waited_s` is how long the balancer held the request before it sent it, None if it did not; `predicted_ttft_s` is the TTFT
    that its policy expected of the attempt sent at `sent_at`. What is told of attempts is told of the last one.

    `ended_by` says who ended the request: `answer`, `refusal` (ours), `client` (it left), `slow_client` (let go, since it read
    nothing), `replica` (it broke off), `shutdown` or
    `timeout` (ours). `resumed` counts how often another replica went on with the answer.
    """

    path: str
    arrived_at: float
    model: str | None = None
    replica: str | None = None
    reason: str = ""
    status: int = 0
    ended_by: str = "answer"
    attempts: int = 0
    resumed: int = 0
    matched_tokens: int = 0
    waited_s: float | None = None
    sent_at: float = 0.0
    predicted_ttft_s: float | None = None
    token_at: float | None = None
    ended_at: float = 0.0
    usage: Usage | None = None
    output_events: int = 0
    decision_id: str = ""
    tiered: "Tiered | None" = None
