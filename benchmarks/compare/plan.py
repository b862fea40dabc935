"""What a comparison will measure, in its order. Pure.

A cell is one run: an arm under a workload at a load, once. The cells of all arms under one workload and load in one repeat are a
block: they play the same script, one after another, so whatever the machine does meanwhile it does to all. Repeats are
outermost: a comparison that is broken off has whole repeats of everything rather than all repeats of something. Every
repeat has a script of its own, so that what is chance in one workload's draw counts as noise.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.compare.order import orders

BETWEEN_S = 8.0
"""What a cell takes beside its script: starting its arm, emptying caches, the last answers."""

Key = tuple[str, float, int, str]


@dataclass(frozen=True, slots=True)
class Cell:
    """`rate` is arrivals a second over all replicas. `seed` is the script's."""

    workload: str
    load: float
    repeat: int
    arm: str
    rate: float
    seed: int

    @property
    def key(self) -> Key:
        return self.workload, self.load, self.repeat, self.arm


Block = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """`setting` is all else that decides figures: fleet, replicas, hardware, scale, service level, how the knee is found."""

    arms: tuple[str, ...]
    workloads: tuple[str, ...]
    loads: tuple[float, ...]
    repeats: int
    seed: int
    setting: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("arms", "workloads", "loads"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"--{name}: expected one or more, each once, got {values}")
        if self.repeats < 1:
            raise ValueError(f"--repeats: expected at least 1, got {self.repeats}")
        if not all(load > 0 for load in self.loads):
            raise ValueError(f"--loads: expected numbers above 0, got {self.loads}")

    def blocks(self, knees: Mapping[str, float]) -> list[Block]:
        """`knees`: of each workload, the arrivals a second that are load 1.0."""
        order = {
            (workload, load): orders(self.arms, self.repeats, f"{self.seed} {workload} {load:g}")
            for workload in self.workloads
            for load in self.loads
        }
        return [
            tuple(
                Cell(workload, load, repeat, arm, load * knees[workload], self.seed + repeat)
                for arm in order[workload, load][repeat]
            )
            for repeat in range(self.repeats)
            for workload in self.workloads
            for load in self.loads
        ]

    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def remaining(blocks: Sequence[Block], done: Collection[Key]) -> list[Block]:
    left = (tuple(cell for cell in block if cell.key not in done) for block in blocks)
    return [block for block in left if block]


def dealt(blocks: Sequence[Block], lanes: int) -> list[list[Cell]]:
    """The cells of each lane. A block stays whole: its arms meet the same cores."""
    return [[cell for block in blocks[lane::lanes] for cell in block] for lane in range(lanes)]


def estimate_s(lanes: Sequence[Sequence[Cell]], script_s: Callable[[Cell], float]) -> float:
    """How long the longest lane takes."""
    return max((sum(script_s(cell) + BETWEEN_S for cell in lane) for lane in lanes), default=0.0)
