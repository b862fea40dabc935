"""Runs a plan, and hands back what was measured, in rows.

Repeats are interleaved (A B C A B C), each with a fresh process, so that a machine that slows down slows all arms.
CPU is read before the first request of a window and after its last answer: every request asked is paid for inside.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import cpu
from benchmarks.load.client import Client
from benchmarks.load.loops import Tally, closed_loop, open_loop
from benchmarks.overhead.arms import Arm
from benchmarks.overhead.bench import RATES_PER_S, WARM_UP, Bench, Plan, Running
from benchmarks.overhead.bodies import Body, requests
from benchmarks.overhead.rows import Cost, Latency, Measured
from benchmarks.overhead.streams import many_streams
from benchmarks.peers.peer import Tools
from benchmarks.processes import NotServingError, raise_open_files


async def measure(plan: Plan, tools: Tools, folder: Path, advance: Callable[[str], None]) -> Measured:
    """Everything in the plan. An arm that fails is given up and says why; the others go on."""
    raise_open_files()
    bench = Bench(plan, tools, folder, advance)
    kept = os.sched_getaffinity(0)
    os.sched_setaffinity(0, bench.cores.others)
    try:
        with bench.backends() as ports:
            for repeat in range(plan.repeats):
                for arm in bench.arms:
                    await _one_round(bench, arm, repeat, ports)
        await many_streams(bench)
    finally:
        os.sched_setaffinity(0, kept)
    return bench.measured


async def _one_round(bench: Bench, arm: Arm, repeat: int, ports: Sequence[int]) -> None:
    plan, measured = bench.plan, bench.measured
    try:
        async with bench.running(arm, ports) as running:
            for body in plan.bodies:
                bench.step(f"{arm.name}: {body.name}")
                measured.costs.append(await _cost(arm, body, repeat, running, plan))
            for body in plan.latency_bodies:
                bench.step(f"{arm.name}: latency of {body.name}")
                measured.latencies.append(await _latency(arm, body, repeat, running, plan.duration_s))
    except NotServingError as error:
        bench.give_up(arm, str(error))


async def _cost(arm: Arm, body: Body, repeat: int, running: Running, plan: Plan) -> Cost:
    client = Client(running.port)
    try:
        await _loaded(client, body, running.port, plan, plan.duration_s / 8, start=WARM_UP)
        before = cpu.read(running.child.pid) if running.child else None
        tally = await _loaded(client, body, running.port, plan, plan.duration_s)
        after = cpu.read(running.child.pid) if running.child else None
    finally:
        client.close()
    if running.child:
        running.child.expect_running(f"under load ({body.name})")
    spent = cpu.spent(before, after) if before and after else None
    return Cost(
        arm=arm.name,
        body=body.name,
        repeat=repeat,
        answers=tally.answers,
        errors=dict(tally.errors),
        requests_per_s=tally.answers / tally.wall_s,
        reads_per_answer=tally.reads / tally.answers if tally.answers else None,
        cpu_us_per_request=spent.seconds * 1e6 / tally.answers if spent and tally.answers else None,
        cpu_source=spent.source if spent else None,
    )


async def _loaded(
    client: Client, body: Body, port: int, plan: Plan, duration_s: float, *, start: int = 0
) -> Tally:
    wanted = requests(body, port, start=start)
    return await closed_loop(client, wanted, connections=plan.connections, duration_s=duration_s)


async def _latency(arm: Arm, body: Body, repeat: int, running: Running, duration_s: float) -> Latency:
    rate = RATES_PER_S[body.name]
    client = Client(running.port)
    try:
        await client.connect(16)
        wanted = requests(body, running.port, start=2 * WARM_UP)
        await open_loop(client, wanted, rate_per_s=rate, duration_s=duration_s / 8)
        tally = await open_loop(client, wanted, rate_per_s=rate, duration_s=duration_s)
    finally:
        client.close()
    seen = tally.first_byte_s if body.stream else tally.total_s
    return Latency(arm.name, body.name, repeat, rate, dict(tally.errors), seen)
