"""The command `soak`: a steady load for long, clients that leave and replicas that fail in it, and what grows meanwhile."""

import asyncio
import itertools
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from benchmarks import cpu
from benchmarks.chaos.client import Client
from benchmarks.chaos.faults import FAULTS
from benchmarks.chaos.growth import ENOUGH_REQUESTS, Sample, growth
from benchmarks.chaos.lab import Lab, embedded, opened, read_page
from benchmarks.chaos.run import Load
from benchmarks.chaos.traffic import Mix, Traffic
from benchmarks.chaos.verdict import Outcome
from benchmarks.fingerprint import fingerprint, one_line
from benchmarks.goals import Goal, Status, Verdict, judge
from benchmarks.processes import NotServingError, raise_open_files
from benchmarks.report import Table, console, goals_table, number, write_json

NAME = "soak"
_SAMPLE_EVERY_S = 1.0
_FAULT_EVERY_S = 15.0
_FAULT_LASTS_S = 2.0
_WARM_UP = 0.2  # of the time
_PATIENCE_S = 30.0
_DRAINED_WITHIN_S = 10.0
_FAULTS = ("RST", "restart", "503 storm", "SIGSTOP", "500s, green health")
_MIX = Mix(output_tokens=(4, 12), slow=0.01, leaves_within_s=0.02)
_REPLICA_OPTIONS = ("--profile", "tiny", "--speed", "0.5")
_FLAGS = ("--index-max-blocks", "5000")  # full within the warm-up: a cache that fills is no leak
_TASKS = re.compile(r"^balancer_\w*tasks\w*(?:\{.*\})? (\S+)", re.MULTILINE)

_SHORT_RUN = Goal("memory, growth after the warm-up", "rss_growth_mb", 8, unit="MB")
_LONG_RUN = Goal("memory by 100,000 requests", "rss_mb_per_100k", 1, unit="MB")
_GOALS = (
    Goal("file descriptors, growth", "fds_growth", 10),
    Goal("asyncio tasks, growth", "tasks_growth", 10),
    Goal("counters that did not come back to 0", "leaked", 0),
    Goal("truncated silently", "truncated", 0),
    Goal("hung", "hung", 0),
    Goal("duplicated or wrong tokens", "wrong", 0),
)


def soak(
    *,
    minutes: Annotated[float, typer.Option(min=0.2, help="How long; 1 for CI.")] = 30.0,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 where a goal is missed.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the result here, as JSON.")] = None,
    rate: Annotated[float, typer.Option(min=1, help="Requests a second.")] = 300.0,
    replicas: Annotated[int, typer.Option(min=2)] = 3,
    seed: Annotated[int, typer.Option(help="Of load and victims.")] = 1,
) -> None:
    """Whether memory, descriptors and tasks of the balancer stay flat under load, cancellations and failures."""
    screen = console()
    raise_open_files()
    facts = fingerprint()
    duration_s = 60 * minutes
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="bench-soak-") as folder:

        async def run() -> dict[str, float]:
            home = Path(folder)
            members = embedded(home, replicas, _REPLICA_OPTIONS)
            async with opened(None, home, members, flags=_FLAGS) as lab:
                lab.rng.seed(seed)
                return await _soak(lab, Traffic(seed, _MIX), rate, duration_s, samples)

        try:
            figures = uvloop.run(run())
        except NotServingError as error:
            screen.print(f"balancer: {error}", markup=False)
            raise typer.Exit(1) from error
    figures |= growth(samples, _WARM_UP * duration_s)
    result = {
        "benchmark": NAME,
        "fingerprint": facts,
        "plan": {"minutes": minutes, "rate_per_s": rate, "replicas": replicas, "seed": seed},
        "figures": figures,
        "samples": [asdict(sample) for sample in samples],
    }
    if out is not None:
        write_json(out, result)
    table(figures).print(screen)
    judged = verdicts(figures)
    goals_table(judged, colour=True).print(screen)
    screen.print(one_line(facts), markup=False)
    if check and any(verdict.status is Status.MISSED for verdict in judged):
        raise typer.Exit(1)


def verdicts(figures: dict[str, float]) -> list[Verdict]:
    long = figures.get("requests_after_warm_up", 0) >= ENOUGH_REQUESTS
    return judge((_LONG_RUN if long else _SHORT_RUN, *_GOALS), figures)


async def _soak(
    lab: Lab, traffic: Traffic, rate: float, duration_s: float, samples: list[Sample]
) -> dict[str, float]:
    client = Client(lab.front.port, _PATIENCE_S)
    outcomes: Counter[str] = Counter()
    load = Load(client, traffic.asks(), rate, lambda row: outcomes.update([row.verdict.outcome]))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run())
            watching = group.create_task(_watch(lab, outcomes.total, samples))
            group.create_task(_fail(lab, duration_s))
            await asyncio.sleep(duration_s)
            watching.cancel()
            load.stop()
        leaks = await lab.leaks(_DRAINED_WITHIN_S)
    finally:
        client.close()
    found = {str(outcome): float(outcomes[outcome]) for outcome in Outcome}
    return {"requests": float(outcomes.total()), **found, "leaked": float(len(leaks))}


async def _watch(lab: Lab, ended: Callable[[], int], samples: list[Sample]) -> None:
    child, port = lab.front.child, lab.front.metrics_port
    assert child is not None
    assert port is not None
    began_s = time.monotonic()
    for tick in itertools.count(1):
        await asyncio.sleep(max(0.0, began_s + tick * _SAMPLE_EVERY_S - time.monotonic()))
        child.expect_running("under load")
        found = _TASKS.search(await asyncio.to_thread(read_page, port))
        samples.append(
            Sample(
                at_s=round(time.monotonic() - began_s, 2),
                requests=ended(),
                rss_bytes=cpu.resident_bytes(child.pid),
                fds=cpu.open_files(child.pid),
                tasks=float(found[1]) if found else None,
            )
        )


async def _fail(lab: Lab, duration_s: float) -> None:
    """Replicas fail every now and then, each time in another way, and all are well in the end."""
    faults = {fault.name: fault for fault in FAULTS}
    wanted = itertools.cycle(_FAULTS)
    for _ in range(int(duration_s / _FAULT_EVERY_S)):
        await faults[next(wanted)].inflict(lab, _FAULT_LASTS_S)
        await asyncio.sleep(_FAULT_EVERY_S - _FAULT_LASTS_S)


def table(figures: dict[str, float]) -> Table:
    rows = [
        (name.replace("_", " "), number(value, 0 if value == int(value) else 2))
        for name, value in figures.items()
    ]
    return Table("What the balancer was asked, and what grew", ("figure", "value"), rows)
