"""A Decider that knows of each request what it would be if asked of another model, since it has no prompt to tell by."""

from collections.abc import Sequence
from dataclasses import replace

from balancer.core.decider import Decider
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling import Policy
from balancer.core.types import ReplicaId, RequestView


class Rerun(Decider):
    """`emptied` and `sized` tell of replicas what the policy was told of their caches, until somebody takes it out."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(Fleet(), policy, HealthPolicy())
        self.retargeted: Sequence[RequestView] = ()
        self.emptied: list[ReplicaState] = []
        self.sized: list[ReplicaState] = []

    def _retarget(self, request: RequestView, model: str, among: frozenset[ReplicaId] | None) -> RequestView:
        for view in self.retargeted:
            if view.model == model and view.among == among:
                return view
        return replace(request, model=model, among=among)

    def _forget(self, replica: ReplicaState) -> None:
        super()._forget(replica)
        self.emptied.append(replica)

    def _size(self, replica: ReplicaState) -> None:
        super()._size(replica)
        self.sized.append(replica)
