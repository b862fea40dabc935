"""The processes of a run: replicas that can be killed, frozen and given orders, and the one that stands in front.

Everything is started here and ended here by its pid. What blocks (starting, waiting for a port) runs in a thread, so
that the load beside it goes on.
"""

import asyncio
import contextlib
import http.client
import json
import re
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from benchmarks.chaos.replica import HOST, Trouble
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.peer import Place, Program, Tools
from benchmarks.processes import (
    Child,
    NotServingError,
    all_cores,
    free_ports,
    started,
    wait_listening,
    wait_serving,
)

_PEERS = {"vllm-router": "vllm-router/cache_aware", "nginx": "nginx/round_robin"}
ARMS = ("balancer", *_PEERS)

_GONE_WITHIN_S = 5.0
_LEAK_GAUGES = ("balancer_requests_in_flight", "balancer_pending_prefill_tokens", "balancer_held_requests")
_ENGINE_GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting")
_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(\{.*\})? (\S+)", re.MULTILINE)


class Replica(ABC):
    """What a fault can do to a replica, of whatever make."""

    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @abstractmethod
    async def start(self) -> None:
        """Returns when it serves."""

    @abstractmethod
    async def order(self, trouble: Trouble) -> None: ...

    @abstractmethod
    def send(self, number: signal.Signals) -> None: ...

    @abstractmethod
    async def ended(self) -> None:
        """Returns when its process has, by itself or by force."""

    @abstractmethod
    def stop(self) -> None: ...

    async def kill(self) -> None:
        """SIGKILL: no last words."""
        self.send(signal.SIGKILL)
        await self.ended()


class EmbeddedReplica(Replica):
    """One embedded replica on its own port, again and again."""

    def __init__(self, folder: Path, ports: tuple[int, int], options: Sequence[str]) -> None:
        self.port, self._control_port = ports
        self._folder = folder
        self._options = options
        self._child: Child | None = None
        self._stack = ExitStack()
        self._starts = 0

    async def start(self) -> None:
        await asyncio.to_thread(self._start)

    async def order(self, trouble: Trouble) -> None:
        status, answer = await asyncio.to_thread(ask, self._control_port, f"/{trouble}", "POST")
        if status != 200:
            raise NotServingError(f"replica on port {self.port}: {answer}")

    def send(self, number: signal.Signals) -> None:
        if self._child is not None:
            self._child.send(number)

    async def ended(self) -> None:
        child = self._child
        if child is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GONE_WITHIN_S):
                while child.running:  # noqa: ASYNC110 - a child of subprocess tells its end only when asked
                    await asyncio.sleep(0.01)
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        self.send(signal.SIGCONT)
        self._child = None
        self._stack.close()

    def _start(self) -> None:
        self._starts += 1
        ports = ["--port", str(self.port), "--control-port", str(self._control_port)]
        command = [sys.executable, "-m", "benchmarks.chaos.replica", *ports, *self._options]
        log = self._folder / f"replica-{self.port}-{self._starts}.log"
        self._child = self._stack.enter_context(started(command, cores=all_cores(), log=log))
        wait_listening(self._child, self._control_port)


@dataclass(slots=True)
class Front:
    """What stands in front: one process, and another where it is replaced. `metrics_port` only where it is ours."""

    port: int
    folder: Path
    config: Path | None = None
    metrics_port: int | None = None
    child: Child | None = None
    stack: ExitStack = field(default_factory=ExitStack)
    starts: int = 0

    @property
    def ours(self) -> bool:
        return self.config is not None

    @property
    def log(self) -> Path:
        return self.folder / f"front-{self.starts}.log"

    def configure(self, urls: Sequence[str]) -> None:
        """JSON is YAML."""
        assert self.config is not None
        self.config.write_text(json.dumps({"replicas": list(urls)}) + "\n", encoding="utf-8")

    def knows(self, port: int) -> bool:
        """Whether the replica on this port is one of its own."""
        return self.metrics_port is not None and f':{port}"' in read_page(self.metrics_port)

    def start(self, command: Sequence[str], wait_for: int) -> Child:
        self.starts += 1
        child = self.stack.enter_context(started(command, cores=all_cores(), log=self.log))
        wait_listening(child, wait_for)
        return child

    def start_ours(self, flags: Sequence[str] = ()) -> Child:
        (self.metrics_port,) = free_ports(1)
        listen = ["--host", HOST, "--port", str(self.port), "--reuse-port"]
        scrape = ["--prometheus-host", HOST, "--prometheus-port", str(self.metrics_port)]
        command = [sys.executable, "-m", "balancer", "serve", "--config", str(self.config)]
        return self.start([*command, *listen, *scrape, *flags], self.metrics_port)


@dataclass(slots=True)
class Lab:
    """What a fault has at hand. `spare` runs, and nobody is told of it until the configuration is changed."""

    replicas: Sequence[Replica]
    spare: Replica | None
    front: Front
    rng: Random
    flags: Sequence[str] = ()

    async def replace_front(self) -> Child:
        """A second process of ours on the same port; returns the first, which still runs."""
        before = self.front.child
        assert before is not None
        self.front.child = await asyncio.to_thread(self.front.start_ours, self.flags)
        return before

    async def leaks(self, within_s: float) -> dict[str, float]:
        """What is not back at zero though nobody asks anything any more: our gauges, and what engines still compute."""
        pages: dict[str, tuple[int, Sequence[str]]] = {
            f"replica {i}": (each.port, _ENGINE_GAUGES) for i, each in enumerate(self.replicas)
        }
        if self.front.metrics_port is not None:
            pages["balancer"] = (self.front.metrics_port, _LEAK_GAUGES)
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            found: dict[str, float] = {}
            for name, (port, gauges) in pages.items():
                page = await asyncio.to_thread(read_page, port)
                found |= {
                    f"{name}: {key}": value for key, value in gauge_values(page, gauges).items() if value
                }
            if not found or asyncio.get_running_loop().time() > deadline:
                return found
            await asyncio.sleep(0.25)


def gauge_values(page: str, names: Sequence[str]) -> dict[str, float]:
    """Of a page in Prometheus's text format. A gauge that the page does not declare is an error: it can't be known to be
    zero. One that is declared may have no samples.
    """
    found = {
        f"{name}{labels}": float(value) for name, labels, value in _SAMPLE.findall(page) if name in names
    }
    for name in names:
        if f"# TYPE {name} gauge\n" not in page:
            raise NotServingError(f"expected {name} on the metrics page")
    return found


def read_page(port: int) -> str:
    """Raises: NotServingError, if there is none."""
    try:
        status, page = ask(port, "/metrics")
    except (OSError, http.client.HTTPException) as error:
        raise NotServingError(f"no metrics page on port {port}: {error}") from error
    if status != 200:
        raise NotServingError(f"no metrics page on port {port}: status {status}")
    return page


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def find_arm(name: str, tools: Tools) -> Program | None:
    """How to start a peer; None is ours. Raises: UnavailableError."""
    if name == "balancer":
        return None
    if name not in _PEERS:
        raise ValueError(f"--arms: expected some of {', '.join(ARMS)}; got {name!r}")
    find = PEERS[_PEERS[name]].find
    assert find is not None
    return find(tools)


def embedded(folder: Path, count: int, options: Sequence[str]) -> list[EmbeddedReplica]:
    ports = free_ports(2 * count)
    return [EmbeddedReplica(folder, pair, options) for pair in zip(ports[::2], ports[1::2], strict=True)]


@contextlib.asynccontextmanager
async def opened(
    program: Program | None,
    folder: Path,
    replicas: Sequence[Replica],
    *,
    spare: Replica | None = None,
    flags: Sequence[str] = (),
) -> AsyncIterator[Lab]:
    """Replicas and what stands in front of them, serving; all ended when the block is left."""
    (port,) = free_ports(1)
    front = Front(port, folder, None if program else folder / "balancer.yaml")
    lab = Lab(replicas, spare, front, Random(0), flags)
    running = [*replicas, *([spare] if spare else [])]
    try:
        await asyncio.gather(*(each.start() for each in running))
        urls = [each.url for each in replicas]
        await asyncio.to_thread(_start_front, front, program, urls, flags)
        yield lab
    finally:
        await asyncio.to_thread(front.stack.close)
        for each in running:
            await asyncio.to_thread(each.stop)


def _start_front(front: Front, program: Program | None, urls: Sequence[str], flags: Sequence[str]) -> None:
    if program is None:
        front.configure(urls)
        front.child = front.start_ours(flags)
    else:
        command = program.command(Place(front.port, urls, front.folder))
        front.child = front.start(command, front.port)
    wait_serving(front.child, front.port)
