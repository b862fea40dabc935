"""What belongs to each replica for as long as it is there: its connections and its side loops, beside its state in the fleet.

Replicas are told apart by name and URL. A new one joins, one that is gone leaves, and one whose URL has changed is both.
A provider that a tier names is one too, but nobody looks after it: only its answers tell how it is.

Whoever leaves is sent nothing new from then on, and its prefixes are forgotten; what it has in flight ends untouched, and only
then its loops end: they tell whether it still works on that. All others keep their counters, connections and loops.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import NamedTuple

from aiohttp import ClientSession, DummyCookieJar, TCPConnector

from balancer.config import Replica, Settings
from balancer.config.build import make_provider, make_replica
from balancer.config.build_tiering import Provider
from balancer.core.decider import Decider
from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import ReplicaId
from balancer.forwarding.pool import ConnectionPool, UpstreamLimits
from balancer.observers.replica_watch import ReplicaWatch
from balancer.observers.supervisor import Supervisor

log = logging.getLogger("balancer")

PROVIDER_KEEPALIVE_S = 30.0
"""A handshake over the Internet is worth keeping a connection for."""
SWEEP_S = 1.0
PROBE_KEEPALIVE_S = 4.0
"""Below the 5 s after which uvicorn closes an idle connection."""


@dataclass(slots=True)
class Changes:
    """Names, by what happened to them."""

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = (
            f"{len(names)} {what} ({', '.join(names)})"
            for what, names in (("added", self.added), ("removed", self.removed), ("moved", self.moved))
            if names
        )
        return "replicas: " + (", ".join(told) or "unchanged")


class _Watched(NamedTuple):
    watch: ReplicaWatch
    loops: list[asyncio.Task[None]]


class Replicas:
    """`pools` holds the connections of each replica that is there, or is leaving."""

    def __init__(
        self, decider: Decider, supervisor: Supervisor, on_failure: Callable[[str, str], None]
    ) -> None:
        self._decider = decider
        self._supervisor = supervisor
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._given: dict[ReplicaId, Replica] = {}
        self._providers: dict[ReplicaId, Provider] = {}
        self._watched: dict[ReplicaState, _Watched] = {}
        self.pools: dict[ReplicaState, ConnectionPool] = {}
        self._limits = UpstreamLimits()
        self._authorization: bytes | None = None
        self._session = ClientSession(
            connector=TCPConnector(limit=0, keepalive_timeout=PROBE_KEEPALIVE_S), cookie_jar=DummyCookieJar()
        )
        supervisor.start("idle_connections", self._sweep)

    def __repr__(self) -> str:
        return f"<Replicas {', '.join(self._given)}; {len(self._decider.fleet.leaving)} leaving>"

    async def close(self) -> None:
        await self._session.close()
        for pool in self.pools.values():
            pool.close()

    def apply(
        self, settings: Settings, authorization: str | None, providers: Sequence[Provider] = ()
    ) -> Changes:
        """Make the fleet what the settings say. Nothing in flight is touched."""
        self._limits = UpstreamLimits(
            settings.connect_timeout_s,
            settings.upstream_keepalive_s,
            settings.first_byte_timeout_s,
            settings.idle_timeout_s,
        )
        self._authorization = None if authorization is None else authorization.encode()
        for known, pool in self.pools.items():
            if not known.external:
                pool.limits, pool.authorization = self._limits, self._authorization
        for watch, _ in self._watched.values():
            watch.settings, watch.authorization = settings, authorization
        wanted = {ReplicaId(replica.name): replica for replica in settings.replicas}
        changes = Changes()
        for name in [name for name in self._given if name not in wanted]:
            self._leave(name)
            changes.removed.append(name)
        for name, replica in wanted.items():
            before = self._given.get(name)
            if before is None:
                self._join(make_replica(replica), settings, authorization)
                changes.added.append(name)
            elif before.url != replica.url:
                successor = make_replica(replica)
                if replica.drain == before.drain:
                    successor.draining = self._decider.fleet[name].draining
                self._leave(name)
                self._join(successor, settings, authorization)
                changes.moved.append(name)
            elif replica != before:
                self._adapt(self._decider.fleet[name], before, replica)
            state = self._decider.fleet[name]
            self._decider.bound(state, replica.max_in_flight or settings.max_in_flight_per_replica)
        self._given = wanted
        self._apply_providers(providers, changes)
        return changes

    def _apply_providers(self, providers: Sequence[Provider], changes: Changes) -> None:
        wanted = {ReplicaId(provider.tier): provider for provider in providers}
        for name, before in list(self._providers.items()):
            provider = wanted.get(name)
            if provider is None or (provider.url, provider.model) != (before.url, before.model):
                self._leave(name)
                (changes.removed if provider is None else changes.moved).append(name)
        for name, provider in wanted.items():
            state = self._decider.fleet.get(name)
            if state is None:
                if name not in self._providers:
                    changes.added.append(name)
                state = make_provider(provider)
                self.pools[state] = ConnectionPool(state.url, self._limits, self._loop, external=True)
                self._decider.join(state)
            assert state.terms is not None
            self._decider.bound(
                state, provider.max_in_flight, provider.requests_per_minute, provider.tokens_per_minute
            )
            state.terms.attempts = provider.max_attempts
            state.terms.first_token_timeout_s = provider.first_token_timeout_s
            pool = self.pools[state]
            pool.authorization = None if provider.key is None else f"Bearer {provider.key}".encode()
            pool.limits = replace(self._limits, keepalive_s=PROVIDER_KEEPALIVE_S)
        self._providers = wanted

    def drain(self, name: str, *, draining: bool) -> ReplicaState | None:
        """Send it nothing new, or do again: until somebody says otherwise, here or in the file. None: no such replica."""
        replica = self._decider.fleet.get(ReplicaId(name))
        if replica is not None and replica.draining != draining:
            self._turn(replica, draining=draining)
        return replica

    def _adapt(self, replica: ReplicaState, before: Replica, after: Replica) -> None:
        if after.models != before.models:
            replica.declared = after.models is not None
            if after.models is not None:  # else the old ones stand until the replica was asked
                self._decider.serves(replica, frozenset(after.models))
                replica.model_entries = ()
        if after.drain != before.drain:
            self._turn(replica, draining=after.drain)

    def _turn(self, replica: ReplicaState, *, draining: bool) -> None:
        self._decider.drain(replica, draining=draining, now=monotonic())
        log.info(
            "replica %s %s, %d requests in flight",
            replica.id,
            "drains" if draining else "is taken up again",
            replica.in_flight,
        )

    def _join(self, replica: ReplicaState, settings: Settings, authorization: str | None) -> None:
        self.pools[replica] = ConnectionPool(
            replica.url, self._limits, self._loop, authorization=self._authorization
        )
        self._decider.join(replica)
        watch = ReplicaWatch(
            replica,
            self._decider,
            self._session,
            settings,
            authorization=authorization,
            on_failure=self._on_failure,
        )
        loops = [self._supervisor.start(what, step, replica.id) for what, step in watch.steps().items()]
        self._watched[replica] = _Watched(watch, loops)

    def _leave(self, name: ReplicaId) -> None:
        replica = self._decider.fleet[name]
        self._decider.leave(replica)
        self.pools[replica].close()

    async def _sweep(self) -> float:
        for replica in self._decider.fleet.settle():
            del self.pools[replica]
            if replica in self._watched:
                for loop in self._watched.pop(replica).loops:
                    loop.cancel()
            log.info("replica %s (%s) has left", replica.id, replica.url)
        for pool in self.pools.values():
            pool.sweep()
        return SWEEP_S
