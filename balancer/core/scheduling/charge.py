"""What one attempt costs its replica until it has answered, and what is learned from it.

A charge is taken when the attempt is sent and released exactly once, whichever way the attempt ends. It holds its own
ReplicaState, so a release that comes after the replica was replaced cannot touch the newcomer's counters.
"""

from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling.policy import Policy
from balancer.core.types import Decision, RequestView, Usage


class Charge:
    """`sent_at` and `first_token_at` are seconds on the balancer's clock; `output_events` counts what a stream has
    brought, which is one token each unless the replica gathers them; `predicted_s` is the TTFT that was expected.
    """

    __slots__ = (
        "_policy",
        "ended_at",
        "first_token_at",
        "matched_tokens",
        "output_events",
        "pending_tokens",
        "predicted_s",
        "replica",
        "request",
        "sent_at",
        "uncached_tokens",
        "usage",
    )

    def __init__(
        self, request: RequestView, replica: ReplicaState, decision: Decision, policy: Policy, now: float
    ) -> None:
        self.request = request
        self.replica = replica
        self.matched_tokens = decision.matched_tokens
        self.uncached_tokens = self.pending_tokens = decision.uncached_tokens
        self.predicted_s = decision.predicted_s
        self.sent_at = now
        self.first_token_at: float | None = None
        self.ended_at: float | None = None
        self.output_events = 0
        self.usage: Usage | None = None
        self._policy = policy
        replica.in_flight += 1
        replica.pending_tokens += self.pending_tokens
        try:
            policy.dispatched(self, now)
        except BaseException:  # a defect of the policy must not keep the replica charged
            self.ended_at = now
            self.prefilled()
            replica.in_flight -= 1
            raise
        replica.progress.sent(self)

    def __repr__(self) -> str:
        state = "ended" if self.ended_at is not None else "decoding" if self.first_token_at else "prefilling"
        return f"<Charge on {self.replica.id}, {state}, {self.uncached_tokens} uncached tokens>"

    @property
    def output_tokens(self) -> int:
        """Tokens of the answer, as far as it told: by its usage, else a token an event."""
        return self.output_events if self.usage is None else self.usage.output_tokens

    def first_token(self, now: float) -> None:
        """Prefill is over: only decoding is left."""
        if self.ended_at is None and self.first_token_at is None:
            self.first_token_at = now
            self.prefilled()
            self.replica.progress.first_token(self, now)
            self._policy.first_token(self, now)

    def prefilled(self) -> None:
        """The replica no longer owes this prompt's prefill, as far as one can tell."""
        self.replica.pending_tokens -= self.pending_tokens
        self.pending_tokens = 0

    def release(self, now: float, usage: Usage | None = None, *, output_events: int = 0) -> None:
        """The attempt has ended, in whatever way; `usage` is what a complete answer told. Further calls do nothing."""
        if self.ended_at is None:
            self.ended_at = now
            self.usage = usage
            self.output_events = output_events
            self.prefilled()
            self.replica.in_flight -= 1
            self.replica.progress.ended(self, now, answered=usage is not None)
            self._policy.ended(self, now)
