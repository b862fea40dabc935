"""All replicas, by id, in the order of their configuration."""

from collections.abc import Iterable, Iterator

from balancer.core.errors import no_replica, unknown_model
from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import Health, ReplicaId


class Fleet:
    def __init__(self, replicas: Iterable[ReplicaState] = ()) -> None:
        self._replicas = {replica.id: replica for replica in replicas}

    def __repr__(self) -> str:
        return f"<Fleet {', '.join(f'{r.id} {r.health}' for r in self)}>"

    def __iter__(self) -> Iterator[ReplicaState]:
        return iter(self._replicas.values())

    def __len__(self) -> int:
        return len(self._replicas)

    def __getitem__(self, replica_id: ReplicaId) -> ReplicaState:
        return self._replicas[replica_id]

    def get(self, replica_id: ReplicaId) -> ReplicaState | None:
        return self._replicas.get(replica_id)

    def models(self) -> list[str]:
        """Every model that some replica is known to serve."""
        return sorted({model for replica in self if replica.models for model in replica.models})

    def can_serve(self) -> bool:
        """Whether a request sent now has a chance."""
        return any(replica.health is Health.HEALTHY for replica in self)

    def eligible(self, model: str | None, tried: frozenset[ReplicaId] = frozenset()) -> list[ReplicaState]:
        """The replicas that may get this request, best class first: those known to serve the model, else those whose
        models are not known yet; of these the healthy, else (rather than refuse) all of them.

        Raises: Refused, 404 if the model is served nowhere, 503 if whoever serves it is draining or was tried.
        """
        best = [
            r
            for r in self._replicas.values()
            if r.health is Health.HEALTHY
            and r.id not in tried
            and (model is None or (r.models is not None and model in r.models))
        ]
        if best:
            return best
        serving: list[ReplicaState] = []
        unknown: list[ReplicaState] = []
        for replica in self._replicas.values():
            serves = replica.serves(model)
            if serves:
                serving.append(replica)
            elif serves is None:
                unknown.append(replica)
        found = serving or unknown
        if not found:
            raise unknown_model(model or "", self.models())
        healthy = [r for r in found if r.health is Health.HEALTHY and r.id not in tried]
        if healthy:
            return healthy
        rest = [r for r in found if r.health is not Health.DRAINING and r.id not in tried]
        if not rest:
            raise no_replica()
        # one not heard of yet is a better guess than one known to be down
        return [r for r in rest if r.health is Health.UNKNOWN] or rest
