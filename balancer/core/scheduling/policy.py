"""The one interface of all policies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import Decision, Reads, RequestView

if TYPE_CHECKING:
    from balancer.core.scheduling.charge import Charge
    from balancer.core.scheduling.waiting import Waiting

Rng = Callable[[], float]
"""Uniform in [0, 1): the only source of chance, so that a seed replays a run."""


class Quote(NamedTuple):
    """What a request would cost, in seconds: `cost_s` is what the policy keeps low, `wait_s` of it what comes before the
    request begins. It takes up the replica for `busy_s`, of which a prompt token is `prefill_s`.
    """

    decision: Decision
    cost_s: float
    wait_s: float
    busy_s: float
    prefill_s: float


class Policy(ABC):
    """`choose` picks one of the replicas that it is given, never none. What else it is told, it may ignore.

    `holds`: it holds requests back by its own reckoning. It is then given saturated replicas too, and asked who goes next.
    """

    name: ClassVar[str]
    reads: ClassVar[Reads] = Reads.ENVELOPE
    holds: ClassVar[bool] = False

    @abstractmethod
    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        """The best replica. The decision's `wait` says that it should not be sent there yet: the request is then
        better off waiting in the balancer, until `release` names it.
        """

    def preview(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        """What `choose` would say, without a choice being made: nobody's turn has passed. What is drawn is drawn, though."""
        turns = [replica.last_chosen for replica in replicas]
        try:
            return self._twin().choose(request, replicas, now)
        finally:
            for replica, turn in zip(replicas, turns, strict=True):
                replica.last_chosen = turn

    def _twin(self) -> Self:
        """Whose choices change nothing of this policy's own."""
        return copy(self)

    def quote(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Quote | None:
        """What `choose` would say, without a choice being made: nothing that comes later is different for it. None: this
        policy counts in no seconds.
        """
        return None

    def arrived(self, now: float) -> None:
        """What was quoted for a request is taken, in the place of `choose`."""

    def release(
        self, waiting: Sequence[Waiting], replicas: Sequence[ReplicaState], now: float
    ) -> tuple[Waiting, Decision] | None:
        """Which of those that wait, first come first, goes next, and where; None: nothing is sent now. Of those that could
        go, it is one whose `turn` is least.
        """
        return None

    def expected_output_tokens(self, request: RequestView) -> float:
        """How long its answer will be; 0 where the policy has no idea."""
        return 0.0

    def waits(self, waiting: Waiting) -> None:
        """A request waits in the balancer."""

    def waits_no_more(self, waiting: Waiting) -> None:
        """It is about to be sent, or its client has gone."""

    def joined(self, replica: ReplicaState) -> None:
        """A replica is new, and its cache empty."""

    def left(self, replica: ReplicaState) -> None:
        """A replica is gone for good."""

    def dispatched(self, charge: Charge, now: float) -> None:
        """An attempt is sent. Exactly one `ended` follows each."""

    def first_token(self, charge: Charge, now: float) -> None:
        """The attempt's first token came; never told for answers that do not stream."""

    def ended(self, charge: Charge, now: float) -> None:
        """The attempt is over; its `usage` is None if it failed, or told none."""

    def forgot(self, replica: ReplicaState) -> None:
        """The replica's cache is empty: it restarted."""

    def sized(self, replica: ReplicaState, kv_capacity_tokens: int) -> None:
        """The replica's KV cache holds so many tokens."""

    def slowed(self, replica: ReplicaState, times: float) -> None:
        """The clock of its GPUs says that computing takes so many times as long from now on, or as short, if below 1."""
