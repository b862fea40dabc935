"""Embedded replicas, a balancer and a real Prometheus as processes, with the files of deploy/, and traffic with what can happen.

Each event leaves its mark in the series, and panels say which of them they need.
"""

import asyncio
import contextlib
import json
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.demo import content_of, sentences
from benchmarks.monitoring import prometheus_file
from benchmarks.processes import Child, all_cores, free_ports, started, wait_listening

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
REPLICAS = 3
PROFILE = ("--profile", "qwen3-32b-2xh100", "--kv-capacity-tokens", "40000")
EVENTS = ("held", "refused", "fallback", "killed", "drained", "reloaded", "gpu")
NOBODY = 9
"""A port of a service (discard) that no machine has."""
WINDOW_S = 10
"""What `$__rate_interval` is, with a scrape a second."""

_TALKERS = 6
_STEADY_S = 15.0
_SETTLE_S = 4.0
_WITHIN_S = 30.0


@dataclass(slots=True)
class Stage:
    """Where everything listens; `began_s` and `ended_s` are of the wall clock."""

    folder: Path
    front: int
    metrics: int
    admin: int
    prometheus: int
    agent: int
    replicas: dict[str, int]
    stack: contextlib.ExitStack
    children: dict[str, Child] = field(default_factory=dict)
    began_s: float = 0.0
    ended_s: float = 0.0
    happened: list[str] = field(default_factory=list)

    def configure(self, **more: Any) -> None:
        """Write the balancer's file."""
        settings = {
            "replicas": [
                {
                    "name": name,
                    "url": f"http://127.0.0.1:{port}",
                    "gpu_agent": f"http://127.0.0.1:{self.agent}",
                    "gpus": [f"GPU-{number}"],
                }
                for number, (name, port) in enumerate(self.replicas.items())
            ],
            "gpu_interval_s": 0.5,
            "tiers": {
                "small": {"model": "m", "usd_per_mtok": {"input": 0.1, "output": 0.4}},
                "large": {"model": "n", "usd_per_mtok": {"input": 1, "output": 4}},
                "hosted": {"model": "h", "url": f"http://127.0.0.1:{NOBODY}"},
            },
            "virtual_models": {
                "auto": {"tiers": ["small", "large"], "strong_share": 0.3},
                "best": {"tiers": ["hosted"], "fallback": "large"},
            },
            "host": "127.0.0.1",
            "port": self.front,
            "prometheus_host": "127.0.0.1",
            "prometheus_port": self.metrics,
            "admin_port": self.admin,
            "api_key_file": str(self.folder / "keys"),
            "max_waiting": 8,
            "max_in_flight_per_replica": 8,
            "health_interval_s": 0.5,
            "metrics_interval_s": 0.5,
            "config_watch_interval_s": 0,
            "access_log": True,
        }
        (self.folder / "balancer.yaml").write_text(json.dumps(settings | more), "utf-8")  # JSON is YAML

    def start_replica(self, name: str) -> None:
        command = [sys.executable, "-m", "balancer", "replica", "--port", str(self.replicas[name]), *PROFILE]
        command += ["--served-model-names", "m", "n"]
        self._start(name, command, self.replicas[name])

    def start_balancer(self) -> None:
        (self.folder / "keys").write_text("search: key-1\nchat: key-2\n", "utf-8")
        self.configure()
        command = [sys.executable, "-m", "balancer", "serve", "--config", str(self.folder / "balancer.yaml")]
        self._start("balancer", command, self.front)
        wait_listening(self.children["balancer"], self.admin)  # which is opened after it

    def start_agent(self) -> None:
        command = [sys.executable, "-m", "tests.monitoring.gpus", str(self.agent), str(REPLICAS)]
        self._start("agent", command, self.agent)

    def start_prometheus(self) -> None:
        """The file of deploy/, which scrapes each second, and finds what is here."""
        ports = {"balancer": [self.metrics], "vllm": list(self.replicas.values())}
        path = prometheus_file(self.folder, ports, interval_s=1)
        listen = f"--web.listen-address=127.0.0.1:{self.prometheus}"
        command = [
            "prometheus",
            f"--config.file={path}",
            f"--storage.tsdb.path={self.folder / 'tsdb'}",
            listen,
        ]
        self._start("prometheus", command, self.prometheus)

    def _start(self, name: str, command: list[str], port: int) -> None:
        log = self.folder / f"{name}-{len(self.children)}.log"
        self.children[name] = self.stack.enter_context(started(command, cores=all_cores(), log=log))
        wait_listening(self.children[name], port)


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """All of it, with replicas that the balancer knows."""
    front, metrics, admin, prometheus, agent, *ports = free_ports(5 + REPLICAS)
    names = [f"gpu-{letter}:8000" for letter in "abc"]
    with contextlib.ExitStack() as stack:
        replicas = dict(zip(names, ports, strict=True))
        stage = Stage(folder, front, metrics, admin, prometheus, agent, replicas, stack)
        for name in names:
            stage.start_replica(name)
        stage.start_agent()
        stage.start_balancer()
        stage.start_prometheus()
        yield stage


async def play(stage: Stage) -> None:
    """Traffic, and every event in its turn."""
    stage.began_s = time.time()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await _until(
            session, stage, lambda told: sum(1 for each in told if each["health"] == "healthy") == REPLICAS
        )
        async with _talking(stage):
            await asyncio.sleep(_STEADY_S)
            for event, happen in (
                ("refused", _burst),
                ("fallback", _fall_back),
                ("killed", _kill),
                ("drained", _drain),
                ("reloaded", _reload),
                ("gpu", _break_gpu),
            ):
                await happen(stage, session)
                stage.happened.append(event)
                await asyncio.sleep(_SETTLE_S)
    stage.happened.append("held")
    stage.ended_s = time.time()


@contextlib.asynccontextmanager
async def _talking(stage: Stage) -> AsyncIterator[None]:
    """Chats of two tenants, while the block runs."""
    async with asyncio.TaskGroup() as group:
        talkers = [group.create_task(_talk(stage, number)) for number in range(_TALKERS)]
        yield
        for talker in talkers:
            talker.cancel()


async def _talk(stage: Stage, number: int) -> None:
    rng = random.Random(number)
    systems = [sentences(random.Random(f"system {each}"), 6000) for each in range(4)]
    headers = {"Authorization": f"Bearer key-{1 + number % 2}"}
    model = "auto" if number % 3 == 0 else "m"
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            messages = [{"role": "system", "content": rng.choice(systems)}]
            for _ in range(3):
                messages.append({"role": "user", "content": sentences(rng, 300)})
                messages.append(
                    {"role": "assistant", "content": await _answer(stage, session, messages, model=model)}
                )
                await asyncio.sleep(0.1)


async def _answer(
    stage: Stage,
    session: aiohttp.ClientSession,
    messages: list[dict[str, str]],
    tokens: int = 32,
    model: str = "m",
) -> str:
    """Of a stream; what came of it, where it failed."""
    body = {
        "model": model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": tokens,
        "temperature": 0,  # so that another replica may go on with it
        "ignore_eos": True,
    }
    text = ""
    with contextlib.suppress(aiohttp.ClientError):
        async with session.post(f"http://127.0.0.1:{stage.front}/v1/chat/completions", json=body) as answer:
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    text += content_of(json.loads(line[6:]))
    return text


async def _burst(stage: Stage, session: aiohttp.ClientSession) -> None:
    """More than may wait: some are held, and some refused."""
    body = {"model": "m", "stream": True, "max_tokens": 64, "ignore_eos": True}
    headers = {"Authorization": "Bearer key-2"}

    async def one(number: int) -> int:
        messages = [{"role": "user", "content": f"{number} " + sentences(random.Random(number), 8000)}]
        url = f"http://127.0.0.1:{stage.front}/v1/chat/completions"
        async with session.post(url, json=body | {"messages": messages}, headers=headers) as answer:
            await answer.read()
            return answer.status

    statuses = await asyncio.gather(*(one(number) for number in range(80)))
    assert {200, 503} <= set(statuses), sorted(statuses)


async def _fall_back(stage: Stage, session: aiohttp.ClientSession) -> None:
    """Of a provider that nobody can reach."""
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer key-1"}) as own:
        for _ in range(5):
            assert await _answer(stage, own, [{"role": "user", "content": "hello"}], model="best")
            await asyncio.sleep(0.5)


async def _break_gpu(stage: Stage, session: aiohttp.ClientSession) -> None:
    """The last: its replica gets no new requests from then on."""
    stage.children["agent"].send(signal.SIGUSR1)
    await _until(session, stage, lambda told: told[-1]["gpu"]["condition"] == "sick")


async def _kill(stage: Stage, session: aiohttp.ClientSession) -> None:
    """A replica that has streams, which others go on with."""
    name = list(stage.replicas)[-1]
    headers = {"Authorization": "Bearer key-1"}
    async with aiohttp.ClientSession(headers=headers) as own, asyncio.TaskGroup() as group:
        for number in range(9):
            messages = [{"role": "user", "content": f"{number} " + sentences(random.Random(number), 2000)}]
            group.create_task(_answer(stage, own, messages, tokens=300))
        await _until(session, stage, lambda told: all(each["in_flight"] >= 2 for each in told))
        stage.children[name].send(signal.SIGKILL)
        await _until(session, stage, lambda told: any(each["health"] != "healthy" for each in told))
    await asyncio.sleep(_SETTLE_S)
    await asyncio.to_thread(stage.start_replica, name)
    await _until(session, stage, lambda told: all(each["health"] == "healthy" for each in told))


async def _drain(stage: Stage, session: aiohttp.ClientSession) -> None:
    name = next(iter(stage.replicas))
    for verb in ("drain", "undrain"):
        async with session.post(f"http://127.0.0.1:{stage.admin}/admin/replicas/{name}/{verb}") as answer:
            assert answer.status == 200, await answer.text()
        await asyncio.sleep(_SETTLE_S)


async def _reload(stage: Stage, session: aiohttp.ClientSession) -> None:
    """A mistake, and then a change."""
    for settings, status in (({"max_waiting": -1}, 422), ({"max_waiting": 9}, 200)):
        stage.configure(**settings)
        async with session.post(f"http://127.0.0.1:{stage.admin}/admin/reload") as answer:
            assert answer.status == status, await answer.text()
        await asyncio.sleep(2)


async def _until(
    session: aiohttp.ClientSession, stage: Stage, reached: Callable[[list[dict[str, Any]]], bool]
) -> None:
    """Of what the admin API tells of our own replicas."""
    async with asyncio.timeout(_WITHIN_S):
        while True:
            async with session.get(f"http://127.0.0.1:{stage.admin}/admin/replicas") as answer:
                told = (await answer.json())["replicas"]
                if reached([each for each in told if each["name"] in stage.replicas]):
                    return
            await asyncio.sleep(0.1)
