"""A fleet, arms and a player without processes and without time: an arm's TTFT is its own, times the script's chance."""

import contextlib
import os
import signal
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from benchmarks.compare.kit import Lane
from benchmarks.compare.prediction import Question
from benchmarks.load.record import Outcome, Record
from benchmarks.processes import Cores, NotServingError
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.script import Ask, Conversation, Script

TTFT_S = {"balancer/predicted_latency": 0.2, "balancer/round_robin": 1.0, "peer": 0.3, "broken": None}
REQUESTS = 200
WINDOW = (10.0, 60.0)


@dataclass
class FakePlayed:
    records: list
    stages: dict
    interrupted: bool = False


@dataclass
class FakeFleet:
    happened: list
    urls: tuple = ("http://127.0.0.1:1",)
    model: str = "model"

    async def reset(self):
        self.happened.append("reset")


@dataclass
class FakeFront:
    kit: "FakeKit"
    arm: str

    async def begun(self):
        self.kit.happened.append("begun")

    async def play(self, script):
        self.kit.happened.append(f"play {self.arm} {script.name}")
        self.kit.played += 1
        if self.kit.interrupt_at == self.kit.played:
            if self.kit.by_signal:
                os.kill(os.getppid(), signal.SIGINT)
            return FakePlayed([], {"": WINDOW}, interrupted=True)
        return FakePlayed(records(script, TTFT_S[self.arm], self.kit.knee), {"": WINDOW})

    async def measured(self, played):
        return {
            "p90_ttft_ms": 1000.0,
            "engine_hit_rate": 0.5,
            "valid": True,
            "invalid": None,
            "cores": sorted(os.sched_getaffinity(0)),
        }


@dataclass
class FakeKit:
    interrupt_at: int | None = None
    by_signal: bool = False
    fleet_fails: bool = False
    knee: float = 10.0
    happened: list = field(default_factory=list)
    played: int = 0

    @contextlib.asynccontextmanager
    async def replicas(self, lane):
        if self.fleet_fails:
            raise NotServingError("no replicas today")
        self.happened.append("fleet")
        yield FakeFleet(self.happened)
        self.happened.append("fleet ended")

    @contextlib.asynccontextmanager
    async def front(self, arm, fleet, lane):
        if TTFT_S[arm] is None:
            raise NotServingError("it ended before it listened")
        self.happened.append(f"start {arm}")
        yield FakeFront(self, arm)
        self.happened.append(f"stop {arm}")

    async def script(self, cell, fleet):
        asks = (Ask("/v1/chat/completions", {"messages": []}),)
        name = f"{cell.workload} {cell.rate:g} {cell.seed}"
        return Script(
            name, (Conversation(0.0, name, asks),), *WINDOW, facts={"seed": cell.seed, "rate": cell.rate}
        )

    def script_s(self, cell):
        return WINDOW[1]

    def catalogue_knee(self, workload):
        return 8.0

    def question(self, cell):
        if not cell.arm.startswith("balancer/"):
            return None
        draw = FakeDraw(cell.load, cell.seed)
        return Question(draw, cell.seed, cell.arm.removeprefix("balancer/"), 2, "llama-3.1-8b-h100", 4)


@dataclass(frozen=True)
class FakeDraw:
    load: float
    seed: int
    workload: str = "chat"

    def __call__(self):
        return WORKLOADS[self.workload].traffic(self.load, 2, self.seed)


def records(script, ttft_s, knee):
    rng = Random(f"{script.facts['seed']} {ttft_s}")
    over = max(1.0, script.facts["rate"] / knee) ** 20
    return [record(rng.uniform(*WINDOW), over * ttft_s * rng.uniform(0.9, 1.1)) for _ in range(REQUESTS)]


def record(due_s, ttft_s, outcome=Outcome.ANSWERED):
    first_s = due_s + ttft_s
    return Record(
        "c", 0, "", "/v1/chat/completions", due_s, True,
        token_s=array("d", [first_s]), ended_s=first_s + 0.5, outcome=outcome, output_tokens=10,
    )  # fmt: skip


def lane(folder: Path) -> Lane:
    cores = frozenset(os.sched_getaffinity(0))
    return Lane(0, Cores(cores, cores), folder)
