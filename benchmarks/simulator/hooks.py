"""What a policy may be told, and asked, beyond the core's interface: the testing ground of that interface.

The router finds out by isinstance, so a policy of the core runs here as it is.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import Decision, RequestView


@runtime_checkable
class Told(Protocol):
    """A policy that hears what became of each attempt. Every dispatch is followed by exactly one `ended`."""

    @abstractmethod
    def first_token(self, request: RequestView, replica: ReplicaState, now: float) -> None: ...

    @abstractmethod
    def ended(
        self, request: RequestView, replica: ReplicaState, output_tokens: int | None, now: float
    ) -> None:
        """`output_tokens` is None where the attempt failed."""


class Held(Protocol):
    """A request that no replica has yet."""

    view: RequestView
    arrived_s: float


@runtime_checkable
class LateBinding(Protocol):
    """A policy that may leave requests with the balancer, and says which of them goes next, and where."""

    @abstractmethod
    def release(
        self, held: Sequence[Held], replicas: Sequence[ReplicaState], now: float
    ) -> tuple[int, Decision] | None:
        """The place of a request in `held` and where it goes; None: nothing is sent now."""
