"""All replicas, by id, in the order in which they came, and who of them may get a request.

A draining replica is asked nothing new and stays known. One that leaves is gone for every decision at once; it is only
kept in mind until what it has in flight has ended. Its successor may have the same id: they share no counter.

Panic: where less than `panic_threshold` of a model's replicas are healthy, those that are out on a suspicion get requests
too, up to the share of the healthy: the balancer may be the one that is wrong, and few must not bear what all did (as Envoy's
panic threshold has it). Those whose port is closed or whose engine is dead do not, unless nobody else
is left, and those that sleep or drain never.

Slow start: a replica that is new, back or restarted takes, while it warms up, requests until

    in flight = 1 + share * mean in flight of its siblings          share: from FIRST_SHARE to 1 over `warmup_s`

so it is neither flooded for having the shortest queue nor left idle. Replicas that all begin together don't ramp.

GPUs: a replica whose GPU is sick gets requests only while all others that are healthy are sick too, and one whose GPU is lost
only when nobody else is left (core/fleet/gpu.py).
Providers are no members of the fleet's own: the counts above leave them out, and nobody is sent there in a panic.

Backpressure: a replica that answered that it is busy is set aside while another one is not, for as long as its Retry-After
says, or BUSY_S, doubled each time in a row: else each request would find out by itself.
"""

from collections.abc import Iterable, Iterator, Sequence

from balancer.core.errors import no_replica, unknown_model
from balancer.core.fleet.gpu import Condition, GpuReading, GpuState
from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import Health, ReplicaId, RequestView

FIRST_SHARE = 0.1

BUSY_S = 0.25
MOST_BUSY_S = 8.0
"""A replica that says it is busy is set aside for so long at first, and at most."""

_OFFERED = frozenset({Health.HEALTHY, Health.EJECTED})
_COUNTED = frozenset({Health.HEALTHY, Health.EJECTED, Health.UNHEALTHY})
_SICK, _LOST = Condition.SICK, Condition.LOST
_SUSPECTED = frozenset({Health.EJECTED, Health.UNHEALTHY})


class Fleet:
    """`gpus` holds what each source of GPU readings told last, by its address; "" is this host."""

    def __init__(
        self, replicas: Iterable[ReplicaState] = (), *, panic_threshold: float = 0.5, warmup_s: float = 30.0
    ) -> None:
        self._replicas = {replica.id: replica for replica in replicas}
        self.leaving: list[ReplicaState] = []
        self.panic_threshold = panic_threshold
        self.warmup_s = warmup_s
        self.gpus: dict[str, GpuReading] = {}
        self._alike_at_s = float("-inf")  # nobody warms up or is set aside after that
        self._own: list[ReplicaState] = []
        self.has_providers = False
        self._regroup()

    def __repr__(self) -> str:
        return f"<Fleet {', '.join(f'{r.id} {r.health}' for r in self)}>"

    def __iter__(self) -> Iterator[ReplicaState]:
        return iter(self._replicas.values())

    def __len__(self) -> int:
        return len(self._replicas)

    def __getitem__(self, replica_id: ReplicaId) -> ReplicaState:
        return self._replicas[replica_id]

    def __contains__(self, replica: ReplicaState) -> bool:
        """Whether it is this very one, and not a successor of the same name."""
        return self._replicas.get(replica.id) is replica

    def get(self, replica_id: ReplicaId) -> ReplicaState | None:
        return self._replicas.get(replica_id)

    @property
    def in_flight(self) -> int:
        """Attempts in flight, those on replicas that are leaving included."""
        return sum(replica.in_flight for replica in (*self, *self.leaving))

    def join(self, replica: ReplicaState) -> None:
        assert replica.id not in self._replicas
        self._replicas[replica.id] = replica
        self._regroup()

    def leave(self, replica: ReplicaState) -> None:
        del self._replicas[replica.id]
        self.leaving.append(replica)
        self._regroup()

    def _regroup(self) -> None:
        self._own = [replica for replica in self if not replica.external]
        self.has_providers = len(self._own) < len(self)

    def settle(self) -> list[ReplicaState]:
        """Those that have left and have nothing in flight any more: they are forgotten."""
        gone = [replica for replica in self.leaving if not replica.in_flight]
        if gone:
            self.leaving = [replica for replica in self.leaving if replica.in_flight]
        return gone

    def models(self) -> list[str]:
        """Every model that some replica is known to serve."""
        return sorted({model for replica in self if replica.models for model in replica.models})

    def can_serve(self) -> bool:
        """Whether a request sent now has a chance."""
        return any(replica.health in _OFFERED and not replica.draining for replica in self)

    def siblings(self, replica: ReplicaState) -> Iterator[ReplicaState]:
        """The others that share a model with it."""
        models, external = replica.models or (), replica.external
        return (
            r
            for r in self
            if r is not replica and r.external == external and r.models and not r.models.isdisjoint(models)
        )

    def panics(self, model: str | None) -> bool:
        """Whether too few of the model's replicas are healthy."""
        return self._panics([replica for replica in self if replica.serves(model)])

    def warms_up(self, replica: ReplicaState, now: float, *, new: bool = False) -> None:
        """The replica begins cold; one that is first heard of (`new`) only if its siblings have been known for long."""
        settled_s = now - self.warmup_s
        if new and not any(
            r.health is Health.HEALTHY and (r.turned_s is None or r.turned_s <= settled_s)
            for r in self.siblings(replica)
        ):
            return
        replica.warm_from_s = now
        self._alike_at_s = max(self._alike_at_s, now + self.warmup_s)

    def saw_gpus(self, replica: ReplicaState, state: GpuState, now: float) -> None:
        """What its GPUs say of it has changed."""
        ailed, replica.gpu = replica.gpu.ailing, state
        if state.ailing:
            self._alike_at_s = float("inf")
        elif ailed and not any(r.gpu.ailing for r in self):
            self._alike_at_s = now + max(
                self.warmup_s, MOST_BUSY_S
            )  # when all else that tells them apart is over

    def declined(self, replica: ReplicaState, now: float, retry_after_s: float | None) -> None:
        """It said that it is busy, and perhaps for how long."""
        pause_s = BUSY_S * 2 ** min(replica.declines, 10) if retry_after_s is None else retry_after_s
        replica.declines += 1
        replica.busy_until_s = now + min(pause_s, MOST_BUSY_S)
        self._alike_at_s = max(self._alike_at_s, replica.busy_until_s)

    def eligible(
        self,
        model: str | None,
        now: float,
        tried: frozenset[ReplicaId] = frozenset(),
        among: frozenset[ReplicaId] | None = None,
    ) -> list[ReplicaState]:
        """The replicas that may get this request, best class first: those known to serve the model, else those whose
        models are not known yet; of these the healthy, in a panic the doubtful too, else (rather than refuse) whoever is left.
        `among`: only these are asked for. A provider gets only what names its model, if nobody else serves that, or names it.

        Raises: Refused, 404 if the model is served nowhere, 503 if whoever serves it sleeps, is draining or was tried.
        """
        if among is not None:
            return self._eligible(
                model, now, tried, [r for r in self._replicas.values() if r.id in among], chosen=True
            )
        best = [
            r
            for r in self._own
            if r.health is Health.HEALTHY
            and not r.draining
            and r.id not in tried
            and (model is None or (r.models is not None and model in r.models))
        ]
        if best and (
            len(best) == len(self._own) or (not tried and all(r.health is Health.HEALTHY for r in self._own))
        ):
            return best if now >= self._alike_at_s else self._willing(best, now)
        known = self._replicas.values() if self._needs_provider(model) else self._own
        return self._eligible(model, now, tried, known)

    def is_provided(self, request: RequestView) -> bool:
        """Whether a provider serves it, and nobody else."""
        if not self.has_providers:
            return False
        if request.among is not None:
            return all(replica.external for replica in self if replica.id in request.among)
        return self._needs_provider(request.model)

    def _needs_provider(self, model: str | None) -> bool:
        return (
            self.has_providers
            and model is not None
            and not any(replica.serves(model) for replica in self._own)
            and any(replica.serves(model) for replica in self if replica.external)
        )

    def _eligible(
        self,
        model: str | None,
        now: float,
        tried: frozenset[ReplicaId],
        replicas: Iterable[ReplicaState],
        *,
        chosen: bool = False,
    ) -> list[ReplicaState]:
        serving: list[ReplicaState] = []
        unknown: list[ReplicaState] = []
        for replica in replicas:
            serves = replica.serves(model)
            if serves:
                serving.append(replica)
            elif serves is None:
                unknown.append(replica)
        found = serving or unknown
        if not found:
            raise no_replica() if chosen else unknown_model(model or "", self.models())
        left = [r for r in found if r.health is not Health.ASLEEP and not r.draining and r.id not in tried]
        if not left:
            raise no_replica()
        return self._best(left, now, panic=self._panics(found))

    def _best(self, left: list[ReplicaState], now: float, *, panic: bool) -> list[ReplicaState]:
        healthy = [r for r in left if r.health is Health.HEALTHY and r.gpu.condition is not _LOST]
        if healthy:
            trusted = set(self._willing(healthy, now))
            most = sum(r.in_flight for r in healthy) / len(healthy)
            return [
                r
                for r in left
                if r in trusted or r.half_open(now) or (panic and _doubtful(r) and r.in_flight <= most)
            ]
        # one not heard of yet is a better guess than one known to be down
        unknown = [r for r in left if r.health is Health.UNKNOWN]
        return unknown or [r for r in left if _doubtful(r)] or self._best_gpus(left)

    def _panics(self, found: Sequence[ReplicaState]) -> bool:
        counted = [r.health for r in found if r.health in _COUNTED and not r.draining]
        return counted.count(Health.HEALTHY) < self.panic_threshold * len(counted)

    def _willing(self, healthy: list[ReplicaState], now: float) -> list[ReplicaState]:
        """Without those that are set aside, if others are left, and those that warm up and have their share."""
        healthy = self._best_gpus(healthy)
        free = [r for r in healthy if r.busy_until_s <= now]
        return self._ramped(free or healthy, now)

    @staticmethod
    def _best_gpus(replicas: list[ReplicaState]) -> list[ReplicaState]:
        """Those whose GPUs are not sick, else those whose are not lost, else all."""
        sound = [r for r in replicas if r.gpu.condition < _SICK]
        return sound or [r for r in replicas if r.gpu.condition is not _LOST] or replicas

    def _ramped(self, healthy: list[ReplicaState], now: float) -> list[ReplicaState]:
        """Without those that warm up and have their share."""
        cold_s = now - self.warmup_s
        warm = [r for r in healthy if r.warm_from_s is None or r.warm_from_s <= cold_s]
        if not warm or len(warm) == len(healthy):
            return healthy
        mean = sum(r.in_flight for r in warm) / len(warm)
        kept = []
        for replica in healthy:
            since_s = replica.warm_from_s
            if since_s is not None and since_s > cold_s:
                share = FIRST_SHARE + (1 - FIRST_SHARE) * (now - since_s) / self.warmup_s
                if replica.in_flight >= 1 + share * mean:
                    continue
            kept.append(replica)
        return kept


def _doubtful(replica: ReplicaState) -> bool:
    return replica.health in _SUSPECTED and not replica.gone
