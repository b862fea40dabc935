"""The measuring: CPU of a decider with and without a journal, what it writes, and its replay.

Both deciders live through the same requests, in turns of CHUNK, so that a busy machine troubles both alike. CPU is the process's,
the thread that writes included.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from balancer.config import Settings
from balancer.config.build import make_decider
from balancer.journal.opening import Journal, policy_of
from balancer.journal.reader import Reading, read_journal
from balancer.journal.replayer import Replayer
from benchmarks.journal.traffic import Conversations, World

CHUNK = 1000
COMPARED = 20_000
"""Requests that are decided without a journal as well."""


@dataclass(frozen=True, slots=True)
class Plan:
    kind: str
    policy: str
    requests: int
    seed: int = 1


@dataclass(slots=True)
class Measured:
    """CPU in seconds; `on_s` and `off_s` by chunk."""

    off_s: list[float] = field(default_factory=list)
    on_s: list[float] = field(default_factory=list)
    decisions: int = 0
    bytes: int = 0
    lost_events: int = 0
    replayed: int = 0
    different: int = 0
    replay_s: float = 0.0
    read_s: float = 0.0


def measure(plan: Plan, folder: Path, advance: Callable[[str], None]) -> Measured:
    measured = Measured()
    path = folder / f"{plan.kind}.journal"
    settings = Settings.model_validate(
        {"replicas": ["http://unused"], "policy": plan.policy, "journal": path, "journal_max_bytes": 1 << 40}
    )
    journal = Journal.open(settings, plan.seed)
    assert journal is not None
    off = _world(make_decider(settings, Random(plan.seed).random), plan)
    on = _world(journal.decider, plan)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as the balancer runs
    for done in range(0, plan.requests, CHUNK):
        advance(f"{plan.kind}: {done:,} requests")
        if done < COMPARED:
            measured.off_s.append(_cpu_of(off))
        measured.on_s.append(_cpu_of(on))
        journal.decider.flush()
    journal.close()
    measured.decisions = journal.decider.decisions
    measured.bytes, measured.lost_events = journal.file.written_bytes, journal.file.lost_events
    del off, on, journal
    gc.collect()
    _replay(plan, path, measured, advance)
    gc.unfreeze()
    return measured


def _world(decider, plan: Plan) -> World:
    return World(decider, Conversations(plan.kind, plan.seed), Random(plan.seed))


def _cpu_of(world: World) -> float:
    started = time.process_time()
    world.run(CHUNK)
    return time.process_time() - started


def _replay(plan: Plan, path: Path, measured: Measured, advance: Callable[[str], None]) -> None:
    started = time.process_time()
    for _ in read_journal(path, Reading()):
        pass
    measured.read_s = time.process_time() - started
    replayer = Replayer(policy_of)
    started = time.process_time()
    for number, event in enumerate(read_journal(path, Reading())):
        replayer.feed(event)
        if not number % 500_000:
            advance(f"{plan.kind}: {replayer.counts.decisions:,} decisions made again")
    measured.replay_s = time.process_time() - started
    measured.replayed = replayer.counts.decisions - replayer.counts.partial
    measured.different = replayer.counts.different
