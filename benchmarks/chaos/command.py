"""The command `chaos`: options in, runs, tables out. No measuring lives here."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console

from benchmarks.chaos import real_vllm
from benchmarks.chaos.faults import FAULTS, Fault, schedule
from benchmarks.chaos.figures import QUIET, figures, tables, verdicts
from benchmarks.chaos.lab import ARMS, embedded, find_arm, opened
from benchmarks.chaos.run import Observed, Plan, observe
from benchmarks.chaos.traffic import Traffic
from benchmarks.fingerprint import fingerprint, one_line
from benchmarks.goals import Status
from benchmarks.peers.environment import DEFAULT_PEER_DIR, PeerDir
from benchmarks.peers.peer import Program, Tools, UnavailableError
from benchmarks.processes import NotServingError, free_ports, raise_open_files
from benchmarks.report import console, goals_table, write_json

NAME = "chaos"
REPLICA_OPTIONS = ("--speed", "0.5")  # 14 ms a token: an answer takes about 0.6 s, so a fault meets many

_SHORT_WINDOW_S = 2.0
_PATIENCE_S = 30.0
_SHORT_PATIENCE_S = 20.0  # over the 15 s after which the balancer gives up a replica that sends no head
_REAL_REPLICAS = 3
_REAL_RATE_PER_S = 3.0  # what three of them on two cores bear

_Tell = Callable[[str], None]
_Run = Callable[[_Tell], Coroutine[None, None, Observed]]


def chaos(
    *,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 where a goal is missed.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the result here, as JSON.")] = None,
    arms: Annotated[str, typer.Option(help="By commas: some of " + ", ".join(ARMS))] = "balancer",
    faults: Annotated[
        str, typer.Option(help="By commas: some of " + ", ".join(fault.name for fault in FAULTS))
    ] = "",
    short: Annotated[
        bool, typer.Option("--short", help="Each fault once, for 2 s: about a minute, for CI.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="How often each fault comes, if not --short.")] = 3,
    rate: Annotated[float, typer.Option(min=1, help="Requests a second.")] = 30.0,
    replicas: Annotated[int, typer.Option(min=2)] = 4,
    patience: Annotated[
        float | None, typer.Option(min=1, help="Seconds without a byte that make a request hung.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of load, schedule and victims.")] = 1,
    real: Annotated[
        bool,
        typer.Option(
            "--real-vllm", help="Three real vLLM replicas on this machine's CPU, killed and frozen."
        ),
    ] = False,
    vllm_router: Annotated[
        Path | None, typer.Option(envvar="BENCH_VLLM_ROUTER", help="A vllm-router that is installed already.")
    ] = None,
    peer_dir: PeerDir = DEFAULT_PEER_DIR,
) -> None:
    """What clients see while replicas and balancer are killed, frozen, restarted and made to lie."""
    screen = console(170)
    try:
        names = _names(arms)
        programs = {name: _found(name, Tools(peer_dir.expanduser(), vllm_router)) for name in names}
        chosen = _faults(_names(faults), real=real)
        if real:
            real_vllm.python()
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    plan = Plan(
        faults=schedule(chosen, 1 if short else rounds, seed),
        rate_per_s=min(rate, _REAL_RATE_PER_S) if real else rate,
        quiet_s=1.0 if short else 6.0,
        patience_s=patience or (_SHORT_PATIENCE_S if short else _PATIENCE_S),
        longest_window_s=_SHORT_WINDOW_S if short else None,
        seed=seed,
    )
    result: dict[str, Any] = {
        "benchmark": NAME,
        "fingerprint": fingerprint(),
        "plan": {
            "short": short,
            "rate_per_s": plan.rate_per_s,
            "replicas": _REAL_REPLICAS if real else replicas,
            "real_vllm": real,
            "patience_s": plan.patience_s,
            "seed": seed,
            "schedule": [fault.name for fault in plan.faults],
        },
        "arms": {},
    }
    raise_open_files()
    with tempfile.TemporaryDirectory(prefix="bench-chaos-") as folder:
        for name, program in programs.items():
            if isinstance(program, str):
                result["arms"][name] = {"trouble": program}
                continue
            home = Path(folder) / name
            home.mkdir()
            run = _real(program, home, plan) if real else _embedded(program, home, plan, replicas)
            result["arms"][name] = _run_arm(name, run, screen)
    if out is not None:
        write_json(out, result)
    show(result, screen)
    if check and failed(result):
        raise typer.Exit(1)


def _embedded(program: Program | None, home: Path, plan: Plan, replicas: int) -> _Run:
    async def run(tell: _Tell) -> Observed:
        *members, spare = embedded(home, replicas + 1, REPLICA_OPTIONS)
        async with opened(program, home, members, spare=None if program else spare) as lab:
            return await observe(lab, Traffic(plan.seed).asks(), plan, tell)

    return run


def _real(program: Program | None, home: Path, plan: Plan) -> _Run:
    async def run(tell: _Tell) -> Observed:
        members = await asyncio.to_thread(real_vllm.replicas, home, free_ports(_REAL_REPLICAS))
        async with opened(program, home, members, flags=() if program else real_vllm.FLAGS) as lab:
            tell("recording the truth")
            traffic = await asyncio.to_thread(real_vllm.RecordedTraffic, plan.seed, members[0].port)
            return await observe(lab, traffic.asks(), plan, tell)

    return run


def _run_arm(name: str, run: _Run, screen: Console) -> dict[str, Any]:
    began_s = time.monotonic()

    def tell(what: str) -> None:
        screen.print(f"{time.monotonic() - began_s:6.1f} s  {name}: {what}", markup=False)

    try:
        return figures(uvloop.run(run(tell)))
    except NotServingError as error:
        return {"trouble": str(error)}


def show(result: dict[str, Any], screen: Console) -> None:
    for table in tables(result):
        table.print(screen)
    goals_table(verdicts(result), colour=True).print(screen)
    for name, arm in result["arms"].items():
        if arm["trouble"]:
            screen.print(f"{name}: {arm['trouble']}", markup=False)
        for skipped in arm.get("skipped", ()):
            screen.print(f"{name} skipped {skipped}", markup=False)
        for leak, value in arm.get("leaks", {}).items():
            screen.print(f"{name} leaked {leak} = {value:g}", markup=False)
        for fault, phase in arm.get("phases", {}).items():
            for outcome, examples in phase["examples"].items():
                count = phase["outcomes"][outcome]
                where = fault if fault == QUIET else f"during {fault}"
                screen.print(f"{name}, {count} {outcome}, {where}: {examples[0]}", markup=False)
    screen.print(one_line(result["fingerprint"]), markup=False)


def failed(result: dict[str, Any]) -> bool:
    """A missed goal, or the balancer could not be judged at all."""
    judged = verdicts(result)
    ours = result["arms"].get("balancer", {})
    return any(verdict.status is Status.MISSED for verdict in judged) or bool(ours.get("trouble"))


def _found(name: str, tools: Tools) -> Program | str | None:
    """How to start the arm, or why that can't be."""
    try:
        return find_arm(name, tools)
    except UnavailableError as error:
        return f"not installed: {error}"


def _faults(names: Sequence[str], *, real: bool) -> list[Fault]:
    known = {fault.name: fault for fault in FAULTS if fault.any_replica or not real}
    for name in names:
        if name not in known:
            raise ValueError(f"--faults: expected some of {', '.join(known)}; got {name!r}")
    return [known[name] for name in names] or list(known.values())


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
