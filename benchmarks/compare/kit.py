"""What the running of a comparison needs of other rooms: replicas, something in front of them, words to send, and a player."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.compare.plan import Cell
from benchmarks.compare.prediction import Question
from benchmarks.load.record import Record
from benchmarks.processes import Cores
from benchmarks.workloads.script import Script


@dataclass(frozen=True, slots=True)
class Lane:
    """Cores and a folder that nobody else uses. With two cores the arm has one of its own, with three the client too."""

    number: int
    cores: Cores
    folder: Path

    @property
    def client(self) -> frozenset[int]:
        others = self.cores.others
        return frozenset({min(others)}) if len(others) > 1 else others

    @property
    def replicas(self) -> frozenset[int]:
        others = self.cores.others
        return others - self.client if len(others) > 1 else others


class Replicas(Protocol):
    """A fleet that serves."""

    @property
    def urls(self) -> Sequence[str]: ...
    @property
    def model(self) -> str: ...

    async def reset(self) -> None:
        """Waits until it is idle, and forgets all prefixes."""
        ...


class Played(Protocol):
    @property
    def records(self) -> Sequence[Record]: ...
    @property
    def stages(self) -> Mapping[str, tuple[float, float]]: ...
    @property
    def interrupted(self) -> bool: ...


class Front(Protocol):
    """An arm that serves. Between `begun` and `measured` are the readings of all counters."""

    async def begun(self) -> None: ...

    async def play(self, script: Script) -> Played: ...

    async def measured(self, played: Played) -> dict[str, Any]:
        """The figures of the run by the names that `vllm bench serve` has, `valid`, and what engines and balancer counted."""
        ...


class Kit(Protocol):
    """Passed to the process of each lane, so it can be pickled."""

    def replicas(self, lane: Lane) -> AbstractAsyncContextManager[Replicas]: ...

    def front(self, arm: str, fleet: Replicas, lane: Lane) -> AbstractAsyncContextManager[Front]:
        """Fresh, and it has answered. Raises: NotServingError."""
        ...

    async def script(self, cell: Cell, fleet: Replicas) -> Script: ...

    def script_s(self, cell: Cell) -> float:
        """About how long the script takes."""
        ...

    def catalogue_knee(self, workload: str) -> float:
        """Arrivals a second over all replicas. Raises: ValueError, where the catalogue does not know."""
        ...

    def question(self, cell: Cell) -> Question | None:
        """What the simulator is asked, where it models fleet, workload and arm."""
        ...
