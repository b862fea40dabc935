"""What another choice would have come to, as a model has it: TTFT by the speeds that were learned of what really happened.

    TTFT = what the request waited in the balancer + what predicted_latency expects of the replica when it is sent there

The model is `predicted_latency` itself, told what is sent where. Of what really happened it learns how fast each replica is; of
what only might have happened it learns nothing, and borrows that.
"""

from collections.abc import Callable

from balancer.core.fleet.meter import Passed
from balancer.core.fleet.replica import ReplicaState
from balancer.core.fleet.speed import Coefficients, Siblings, Speed
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling.predicted_latency import PredictedLatency
from balancer.core.types import Decision, ReplicaId, RequestView


class Borrowed(Speed):
    """Another's speed. Who was asked how often is its own."""

    __slots__ = ("_of",)

    def __init__(self, of: Speed, siblings: Siblings) -> None:
        super().__init__(siblings)
        self._of = of

    @property
    def now(self) -> Coefficients:
        return self._of.now

    def believed(self, now: float) -> Coefficients:
        self.error = self._of.error
        return self._of.believed(now)

    def saw_answer(self, passed: Passed, tokens: int, now: float) -> None:
        """Nothing was seen."""

    def saw_tokens(self, passed: Passed, tokens: int, now: float) -> None:
        """Nothing was seen."""

    def slowed(self, times: float) -> None:
        """The other is told."""


class Modelled(PredictedLatency):
    """With speeds of `speed_of`, which knows each replica before this one does."""

    def __init__(self, index: PrefixIndex, speed_of: Callable[[ReplicaId], Speed]) -> None:
        super().__init__(index)
        self._lent = speed_of

    def _speed(self, replica: ReplicaState) -> Speed:
        return Borrowed(self._lent(replica.id), self._siblings_of(replica))


def sent_there(policy: PredictedLatency, request: RequestView, replica: ReplicaState, now: float) -> Decision:
    """The decision to send it to this replica, whatever others could do."""
    return policy.quote(request, [replica], now).decision
