"""The record of one request."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from balancer.core.tiering.types import Offer, Target
from balancer.core.types import Candidate, Decision, Usage


@dataclass(slots=True)
class Tiered:
    """What was chosen for a request that asked for a virtual model, and what it was chosen by: `score` is None where no
    classifier was asked, `propensity` the probability of the tier that was chosen first, `shadow` the tier that would have been
    chosen, `left` the tiers that failed before, each with why, `barred` those that might have stood in but for a hard rule.

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
    barred: tuple[tuple[str, str], ...] = ()
    tenant: str = ""
    conversation: bytes = b""
    explored: bool = False
    target: Target | None = None
    options: tuple[tuple[str, float | None], ...] = ()
    text: str = field(default="", repr=False)


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt, and the decision that sent it: what the policy saw of each replica are `candidates`, and what each tier would
    have done `offers`, where the tier was chosen with it. Both may hold on to replicas that have left since.

    Times as the record's: a decision was asked for at `decided_at`, the replica charged at `sent_at`, the request written at
    `asked_at`; its first byte came at `heard_at`, and the first token at `token_at`. `outcome` is empty while it goes on;
    `status` is the replica's. `resumes`: it goes on with an answer that another one began.
    """

    replica: str
    reason: str
    tier: str
    decided_at: float
    sent_at: float
    matched_tokens: int
    predicted_s: float | None
    candidates: Sequence[Candidate]
    offers: Sequence[Offer] = ()
    resumes: bool = False
    asked_at: float | None = None
    heard_at: float | None = None
    token_at: float | None = None
    ended_at: float | None = None
    outcome: str = ""
    status: int | None = None
    usage: Usage | None = None


@dataclass(slots=True)
class Record:
    """Times are seconds on the monotonic clock: the request's head came at `begun_at`, its last byte at `arrived_at`. `status` is
    what the client was told, 499 if it left before; `error` the type of a refusal of ours. `path` is the route, or what was asked
    for where there is none. `request_id` is the client's own or made here, `trace_id` empty unless the request is traced.

    `waited_s` is how long the balancer held the request before it sent it, None if it did not; `predicted_ttft_s` is the TTFT
    that its policy expected of the attempt dispatched at `sent_at`; a connection was opened for it in `connected_s`, unless one
    was open, the request was written at `asked_at`, and the answer's first byte came at `heard_at`. What is told of attempts is
    told of the last one, but for `decided_s`, which is the time that all decisions took.

    `ended_by` says who ended the request: `answer`, `refusal` (ours), `client` (it left), `slow_client` (let go, since it read
    nothing), `replica` (it broke off), `shutdown` or `timeout` (ours). `resumed` counts how often another replica went on with
    the answer. `usd` is what it cost at the prices of `usd_tier`, where that is known. `mended`: of texts that should have
    been JSON, how many were made so and how many could not be. `trail` are all attempts, in order.
    """

    path: str
    arrived_at: float
    begun_at: float | None = None
    understood_at: float | None = None
    model: str | None = None
    tenant: str = ""
    replica: str | None = None
    reason: str = ""
    status: int = 0
    ended_by: str = "answer"
    attempts: int = 0
    resumed: int = 0
    matched_tokens: int = 0
    decided_s: float = 0.0
    waited_s: float | None = None
    sent_at: float = 0.0
    predicted_ttft_s: float | None = None
    connected_s: float | None = None
    asked_at: float | None = None
    heard_at: float | None = None
    token_at: float | None = None
    ended_at: float = 0.0
    usage: Usage | None = None
    output_events: int = 0
    usd: float | None = None
    usd_tier: str = ""
    decision_id: str = ""
    mended: tuple[int, int] | None = None
    tiered: "Tiered | None" = None
    method: str = ""
    request_id: str = ""
    trace_id: str = ""
    error: str = ""
    trail: list[Attempt] = field(default_factory=list, repr=False)

    def sends(
        self, decision: Decision, decided_at: float, sent_at: float, offers: Sequence[Offer] = ()
    ) -> Attempt:
        """Another attempt begins."""
        self.attempts += 1
        self.replica, self.reason = decision.replica, decision.reason
        self.matched_tokens = decision.matched_tokens
        self.sent_at, self.predicted_ttft_s = sent_at, decision.predicted_s
        self.connected_s = self.asked_at = self.heard_at = None
        self.usage, self.output_events = None, 0
        attempt = Attempt(
            decision.replica,
            decision.reason,
            "" if self.tiered is None else self.tiered.tier,
            decided_at,
            sent_at,
            decision.matched_tokens,
            decision.predicted_s,
            decision.candidates,
            offers,
        )
        self.trail.append(attempt)
        return attempt
