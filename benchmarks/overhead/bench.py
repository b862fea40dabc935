"""The stage of a run: its plan, its cores, its backends, and each arm as a running process that answers."""

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.client import Client
from benchmarks.overhead.arms import Arm
from benchmarks.overhead.bodies import BODIES, Body, requests
from benchmarks.overhead.rows import Measured
from benchmarks.peers.peer import Place, Program, Tools, UnavailableError
from benchmarks.processes import (
    Child,
    Cores,
    NotServingError,
    all_cores,
    free_ports,
    split_cores,
    started,
    wait_listening,
)

BACKENDS = 2
RATES_PER_S = {"small": 300.0, "stream": 20.0}
"""Open-loop rates by body: far below what any arm can carry, so that latency is the way's and not a queue's."""

WARM_UP = 50_000_000
"""Requests from this number on are never those of a measured window."""

_READY_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    arms: Sequence[Arm]
    bodies: Sequence[Body]
    duration_s: float
    repeats: int
    connections: int = 16
    many_streams: int | None = None

    @property
    def latency_bodies(self) -> list[Body]:
        return [body for body in self.bodies if body.name in RATES_PER_S]

    @property
    def steps(self) -> int:
        """Cells to measure, for the progress bar."""
        a_repeat = len(self.arms) * (len(self.bodies) + len(self.latency_bodies))
        return a_repeat * self.repeats + 2 * len(self.stream_arms)

    @property
    def stream_arms(self) -> list[Arm]:
        return [arm for arm in self.arms if arm.many_streams] if self.many_streams else []


@dataclass(frozen=True, slots=True)
class Running:
    """An arm that answers: where, and the process to account for."""

    port: int
    child: Child | None


class Bench:
    """The cores, the folder and the programs that all parts of a run share."""

    def __init__(self, plan: Plan, tools: Tools, folder: Path, advance: Callable[[str], None]) -> None:
        self.plan = plan
        self.cores: Cores = split_cores(all_cores())
        self.measured = Measured()
        self._folder = folder
        self._advance = advance
        self._programs: dict[str, Program | None] = {}
        self._runs = itertools.count(1)
        for arm in plan.arms:
            self._find(arm, tools)

    @property
    def arms(self) -> list[Arm]:
        """Those that are still in the run."""
        return [arm for arm in self.plan.arms if arm.name not in self.measured.troubles]

    def step(self, what: str) -> None:
        self._advance(what)

    def give_up(self, arm: Arm, why: str) -> None:
        self.measured.troubles[arm.name] = why

    @contextlib.contextmanager
    def backends(self, *options: str) -> Iterator[list[int]]:
        """Backends on the cores of the load, and their ports."""
        ports = free_ports(BACKENDS)
        with contextlib.ExitStack() as stack:
            for port in ports:
                command = [sys.executable, "-m", "benchmarks.backend", "--port", str(port), *options]
                log = self._folder / f"backend-{port}.log"
                child = stack.enter_context(started(command, cores=self.cores.others, log=log))
                wait_listening(child, port)
            yield ports

    @contextlib.asynccontextmanager
    async def running(self, arm: Arm, backend_ports: Sequence[int]) -> AsyncIterator[Running]:
        """The arm, from its first right answer on."""
        program = self._programs[arm.name]
        if program is None:
            yield Running(backend_ports[0], None)
            return
        (port,) = free_ports(1)
        folder = self._folder / f"{next(self._runs)}-{arm.name.replace('/', '-')}"
        folder.mkdir()
        place = Place(port, [f"http://127.0.0.1:{each}" for each in backend_ports], folder)
        with started(program.command(place), cores=self.cores.subject, log=folder / "log") as child:
            wait_listening(child, port)
            await _answers(child, port)
            yield Running(port, child)

    def _find(self, arm: Arm, tools: Tools) -> None:
        try:
            self._programs[arm.name] = arm.find(tools) if arm.find else None
        except UnavailableError as error:
            self.give_up(arm, str(error))
            return
        program = self._programs[arm.name]
        self.measured.versions[arm.name] = program.version if program else None


async def _answers(child: Child, port: int) -> None:
    """Until the subject gives a right answer: listening is not yet serving."""
    client = Client(port)
    wanted = requests(BODIES["small"], port, start=WARM_UP)
    deadline = time.monotonic() + _READY_WITHIN_S
    why = "no answer"
    try:
        while time.monotonic() < deadline and child.running:
            answer = await client.ask(next(wanted))
            if answer.error is None:
                return
            why = answer.error
            await asyncio.sleep(0.05)
    finally:
        client.close()
    raise NotServingError(f"no right answer ({why}): {child.last_words() or 'no output'}")
