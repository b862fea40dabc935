"""The whole balancer in this process, in front of replicas of the test's own."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

from balancer.app import Balancer, started
from balancer.config import Loaded, Settings
from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import Health
from balancer.observers.gpu.reader import NvmlReader
from balancer.reload import Reloaded
from tests.fakes.client import LOOPBACK, Answer, Client
from tests.fakes.loops import until
from tests.fakes.replica import Replica

FAST = {
    "host": LOOPBACK,
    "port": 0,
    "prometheus_host": LOOPBACK,
    "gpus": "off",
    "health_interval_s": 0.05,
    "metrics_interval_s": 0.05,
    "models_interval_s": 0.1,
}


def settings_for(replicas: list[Any], **more: Any) -> Settings:
    """Replicas may be fakes, or what the configuration takes: URLs and mappings."""
    given = [{"url": r.url, "name": r.name} if isinstance(r, Replica) else r for r in replicas]
    return Settings.model_validate({**FAST, "replicas": given, **more})


def loaded(settings: Settings) -> Loaded:
    """Settings without a file: to load them again brings the same ones."""
    return Loaded(settings, dict.fromkeys(Settings.model_fields, "test"), None, lambda: loaded(settings))


class Front:
    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self._clients: list[Client] = []

    @property
    def fleet(self) -> list[ReplicaState]:
        return list(self.balancer.decider.fleet)

    def idle(self) -> bool:
        """Whether nothing is counted as being in flight."""
        return all(replica.in_flight == 0 and replica.pending_tokens == 0 for replica in self.fleet)

    async def reload(self, *replicas: Any, **settings: Any) -> Reloaded:
        """Other settings, as if the file said so now."""
        reloader = self.balancer.reloader
        new = loaded(settings_for(list(replicas), **settings))
        reloader.loaded = dataclasses.replace(reloader.loaded, again=lambda: new)
        return await reloader.reload()

    async def client(self, *, listener: int = 0, **options: Any) -> Client:
        client = await Client.connect(self.balancer.listeners.ports[listener], **options)
        self._clients.append(client)
        return client

    async def ask(self, body: Any = None, **request: Any) -> Answer:
        """One request on a connection of its own."""
        client = await self.client()
        answer = await client.ask(body, **request)
        await client.close()
        return answer

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


@contextlib.asynccontextmanager
async def balancing(
    *replicas: Any,
    wait_for: Health | None = Health.HEALTHY,
    reader: NvmlReader | None = None,
    **settings: Any,
) -> AsyncIterator[Front]:
    """Started and listening; by default not before every replica is known with its models."""
    async with started(loaded(settings_for(list(replicas), **settings)), reader) as balancer:
        await balancer.listen()
        front = Front(balancer)
        try:
            if wait_for is not None:
                await until(lambda: all(r.health is wait_for and r.models is not None for r in front.fleet))
            yield front
        finally:
            await front.close()


@contextlib.asynccontextmanager
async def cluster(count: int = 1, **settings: Any) -> AsyncIterator[tuple[Front, list[Replica]]]:
    """A balancer in front of so many healthy fakes."""
    replicas = [await Replica(f"r{number}").start() for number in range(count)]
    try:
        async with balancing(*replicas, **settings) as front:
            yield front, replicas
    finally:
        for replica in replicas:
            await replica.stop()
