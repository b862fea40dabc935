"""Which replica made a stored response: only that one can answer for its id (vLLM keeps them in memory)."""

from collections import OrderedDict

from balancer.core.types import ReplicaId

MAX_PINS = 100_000


class ResponsePins:
    """Bounded; the oldest go first."""

    def __init__(self, max_pins: int = MAX_PINS) -> None:
        self._max_pins = max_pins
        self._replica_of: OrderedDict[str, ReplicaId] = OrderedDict()

    def __len__(self) -> int:
        return len(self._replica_of)

    def remember(self, response_id: str, replica: ReplicaId) -> None:
        self._replica_of[response_id] = replica
        self._replica_of.move_to_end(response_id)
        if len(self._replica_of) > self._max_pins:
            self._replica_of.popitem(last=False)

    def find(self, response_id: str) -> ReplicaId | None:
        return self._replica_of.get(response_id)
