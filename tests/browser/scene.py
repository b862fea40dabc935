"""A live demo in this process: a balancer before embedded replicas and tiers, clients who talk, and names that are no good."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

from aiohttp import ClientSession

from balancer.embedded.options import ReplicaOptions
from balancer.embedded.server import create_app
from balancer.observers.gpu.reader import NvmlReader
from benchmarks.demo import sentences
from tests.fakes.balancer import Front, balancing
from tests.fakes.loops import until
from tests.fakes.nvml import FakeNvml
from tests.fakes.served import served

EVIL = "<img src=x onerror=\"document.title='owned'\">"
"""What clients and engines call themselves in here."""
SETTINGS = {
    "admin_port": 0,
    "gpus": "auto",
    "gpu_interval_s": 0.2,
    "tenant_header": "x-tenant",
    "max_waiting": 64,
    "tiers": {
        "small": {"model": "small", "usd_per_mtok": {"input": 0.1, "output": 0.4}},
        "large": {"model": "large", "usd_per_mtok": {"input": 1.2, "output": 4.8}},
    },
    "virtual_models": {"auto": {"tiers": ["small", "large"], "strong_share": 0.3, "explore": 0.5}},
}
MODELS = ("small", "small", "large", "large", EVIL)


@contextlib.asynccontextmanager
async def scene(nvml: FakeNvml | None = None, **settings: object) -> AsyncIterator[Front]:
    """Two replicas of a small model, two of a large one, and one whose model has the name of EVIL; a GPU for each."""
    nvml = nvml or FakeNvml(len(MODELS))
    async with contextlib.AsyncExitStack() as stack:
        given = []
        for number, model in enumerate(MODELS):
            options = ReplicaOptions(model=model, speed=3, seed=number, kv_capacity_tokens=60_000)
            url = await stack.enter_async_context(served(create_app(options)))
            given.append({"url": url, "name": f"gpu-{'abcde'[number]}:8000", "gpus": [number]})
        front = await stack.enter_async_context(
            balancing(*given, reader=NvmlReader(lambda: nvml), **{**SETTINGS, **settings})
        )
        await until(lambda: all(replica.gpu.gpus for replica in front.fleet))
        yield front


@contextlib.asynccontextmanager
async def talk(front: Front, talkers: int = 4) -> AsyncIterator[None]:
    """Clients, some of whom call themselves EVIL, ask on and on while the block runs."""
    rng = random.Random(11)
    systems = [sentences(rng, 6000) for _ in range(6)]
    url = f"http://127.0.0.1:{front.balancer.listeners.ports[0]}/v1/chat/completions"

    async def client(session: ClientSession, number: int) -> None:
        own = random.Random(number)
        while True:
            messages = [{"role": "system", "content": own.choice(systems)}]
            messages.append({"role": "user", "content": sentences(own, 200)})
            body = {
                "model": own.choice(("auto", "auto", "small", "large", EVIL)),
                "messages": messages,
                "stream": True,
                "max_tokens": 24,
            }
            tenant = own.choice(("search", "chat", EVIL))
            async with session.post(url, json=body, headers={"x-tenant": tenant}) as answer:
                await answer.read()
            await asyncio.sleep(own.uniform(0, 0.2))

    async with ClientSession() as session, asyncio.TaskGroup() as group:
        tasks = [group.create_task(client(session, number)) for number in range(talkers)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
