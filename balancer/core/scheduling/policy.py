"""The one interface of all policies."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import Decision, Reads, RequestView

Rng = Callable[[], float]
"""Uniform in [0, 1): the only source of chance, so that a seed replays a run."""


class Policy(ABC):
    """`choose` picks one of the replicas that it is given, never none. What else it is told, it may ignore."""

    name: ClassVar[str]
    reads: ClassVar[Reads] = Reads.ENVELOPE

    @abstractmethod
    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision: ...

    def joined(self, replica: ReplicaState) -> None:  # noqa: B027
        """A replica is new, and its cache empty."""

    def left(self, replica: ReplicaState) -> None:  # noqa: B027
        """A replica is gone for good."""

    def dispatched(self, request: RequestView, replica: ReplicaState) -> None:  # noqa: B027
        """The request was sent there."""

    def forgot(self, replica: ReplicaState) -> None:  # noqa: B027
        """The replica's cache is empty: it restarted."""

    def sized(self, replica: ReplicaState, kv_capacity_tokens: int) -> None:  # noqa: B027
        """The replica's KV cache holds so many tokens."""
