"""The real parts of a comparison: fleets, peers, workloads and the player of the other rooms."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from benchmarks.compare.kit import Lane, Replicas
from benchmarks.compare.plan import Cell
from benchmarks.compare.prediction import Question
from benchmarks.fleets import Fleet, embedded, external, real_vllm
from benchmarks.load.player import Played, play
from benchmarks.load.target import Target
from benchmarks.observation import Observer
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.peer import Peer, Place, Tools, UnavailableError
from benchmarks.peers.running import Running, running
from benchmarks.processes import NotServingError, free_ports
from benchmarks.reporting.documents import measured
from benchmarks.reporting.service import ServiceLevel
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.calibrate import calibrate
from benchmarks.workloads.choose import Wanted, script_for
from benchmarks.workloads.script import Script
from benchmarks.workloads.traffic import Traffic

EMBEDDED, REAL_VLLM = "embedded", "real-vllm"

_folders = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Draw:
    """Traffic of a workload by name, as `script_for` draws it."""

    workload: str
    rate: float
    replicas: int
    seed: int
    duration_s: float | None
    warm_up_s: float | None

    def __call__(self) -> Traffic:
        return WORKLOADS[self.workload].at(
            self.rate, self.replicas, self.seed, duration_s=self.duration_s, settle_s=self.warm_up_s
        )


@dataclass(frozen=True, slots=True)
class Bench:
    """`fleet` is EMBEDDED, REAL_VLLM or the URLs of replicas by commas. `wanted` is what all scripts have in common."""

    fleet: str
    profile: str
    wanted: Wanted
    tools: Tools
    level: ServiceLevel | None = None

    @contextlib.asynccontextmanager
    async def replicas(self, lane: Lane) -> AsyncIterator[Fleet]:
        cores, count = lane.replicas, self.wanted.replicas
        if self.fleet == EMBEDDED:
            with embedded(count, self.profile, lane.folder, scale=self.wanted.scale, cores=cores) as fleet:
                yield fleet
        elif self.fleet == REAL_VLLM:
            with real_vllm(count, lane.folder, cores=cores) as fleet:
                yield fleet
        else:
            yield await external(self.fleet.split(","))

    @contextlib.asynccontextmanager
    async def front(self, arm: str, fleet: Replicas, lane: Lane) -> AsyncIterator["_Front"]:
        peer = PEERS[arm]
        folder = lane.folder / f"{next(_folders)}-{arm.replace('/', '-')}"
        folder.mkdir()
        (port,) = free_ports(1)
        try:
            program = peer.find(self.tools) if peer.find else None
        except UnavailableError as error:
            raise NotServingError(str(error)) from error
        assert isinstance(fleet, Fleet)
        place = Place(port, fleet.urls, folder, fleet.model)
        with running(program, place, lane.cores.subject) as there:
            yield _Front(peer, there, fleet, self.level)

    async def script(self, cell: Cell, fleet: Replicas) -> Script:
        texts = await calibrate(fleet.urls[0], fleet.model)
        return script_for(replace(self.wanted, workload=cell.workload, rate=cell.rate, seed=cell.seed), texts)

    def script_s(self, cell: Cell) -> float:
        if cell.workload not in WORKLOADS:
            return self.wanted.duration_s or 0.0
        wanted = self.wanted
        return _length_s(
            Draw(cell.workload, cell.rate, wanted.replicas, 0, wanted.duration_s, wanted.warm_up_s)
        )

    def catalogue_knee(self, workload: str) -> float:
        if workload not in WORKLOADS:
            raise ValueError(
                f"--knee: expected arrivals a second, since the catalogue does not know {workload}"
            )
        return WORKLOADS[workload].capacity * self.wanted.replicas

    def question(self, cell: Cell) -> Question | None:
        arm = PEERS[cell.arm].modelled_by
        if self.fleet != EMBEDDED or arm is None or cell.workload not in WORKLOADS:
            return None
        wanted = self.wanted
        draw = Draw(cell.workload, cell.rate, wanted.replicas, cell.seed, wanted.duration_s, wanted.warm_up_s)
        return Question(draw, cell.seed, arm, wanted.replicas, self.profile, wanted.scale)


def absent(arms: Collection[str], tools: Tools) -> dict[str, str]:
    """Which of these can't be had here, and why; others are installed by the way."""
    why = {}
    for arm in arms:
        find = PEERS[arm].find
        try:
            if find is not None:
                find(tools)
        except UnavailableError as error:
            why[arm] = str(error)
    return why


class _Front:
    def __init__(self, peer: Peer, there: Running, fleet: Fleet, level: ServiceLevel | None) -> None:
        self._peer = peer
        self._there = there
        self._fleet = fleet
        self._level = level
        page = f"{there.url}/metrics" if peer.ours else None
        self._observer = Observer(fleet, page, None if there.child is None else there.child.pid)

    async def begun(self) -> None:
        await self._observer.begin()

    async def play(self, script: Script) -> Played:
        target = Target(self._there.url, self._fleet.model, session_header=self._peer.session_header)
        return await play(script, target)

    async def measured(self, played: Played) -> dict[str, Any]:
        return measured(await self._observer.observed(played), self._level)


@cache
def _length_s(draw: Draw) -> float:
    traffic = draw()
    seconds = traffic.end_s
    while traffic.then is not None:
        traffic = traffic.then
        seconds += traffic.end_s
    return seconds
