"""The command `overhead`: options in, a run or a kept result, tables out. No measuring lives here."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.fingerprint import fingerprint, one_line
from benchmarks.goals import Status
from benchmarks.overhead.arms import ARMS, OBSERVATION, chosen
from benchmarks.overhead.bench import Plan
from benchmarks.overhead.bodies import BODIES
from benchmarks.overhead.figures import MANY, figures, spoiled, tables, verdicts
from benchmarks.overhead.measure import measure
from benchmarks.overhead.rows import as_rows
from benchmarks.peers.environment import DEFAULT_PEER_DIR, PeerDir
from benchmarks.peers.peer import Tools
from benchmarks.processes import all_cores, split_cores
from benchmarks.report import console, goals_table, read_json, rewrite_between_markers, write_json

NAME = "overhead"
_README = Path(__file__).resolve().parent.parent / "README.md"


def overhead(
    *,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 where a goal is missed.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the result here.")] = None,
    arms: Annotated[
        str, typer.Option(help="Names, by commas: all of " + ", ".join(arm.name for arm in ARMS))
    ] = "",
    bodies: Annotated[str, typer.Option(help="Names, by commas.")] = ",".join(BODIES),
    duration: Annotated[float, typer.Option(min=0.1, help="Seconds of each measured window.")] = 4.0,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds over all arms; medians are shown.")] = 2,
    quick: Annotated[
        bool, typer.Option("--quick", help="One round of 1 s windows, and no many streams.")
    ] = False,
    observability: Annotated[
        bool,
        typer.Option(
            "--observability",
            help="Other arms: the default policy with metrics and access log, with metrics alone, and with nothing of it.",
        ),
    ] = False,
    connections_test: Annotated[bool, typer.Option(help=f"Measure {MANY:,} streams at once too.")] = True,
    vllm_router: Annotated[
        Path | None, typer.Option(envvar="BENCH_VLLM_ROUTER", help="A vllm-router that is installed already.")
    ] = None,
    peer_dir: PeerDir = DEFAULT_PEER_DIR,
    render: Annotated[Path | None, typer.Option(help="Show this result file and measure nothing.")] = None,
    update_readme: Annotated[
        bool, typer.Option("--update-readme", help="Write the tables to the README.")
    ] = False,
) -> None:
    """What a balancer costs: CPU per request and chunk, added latency, 2,000 streams at once."""
    screen = console()
    try:
        if render is None:
            plan = Plan(
                arms=OBSERVATION if observability else chosen(_names(arms)),
                bodies=_bodies(_names(bodies)),
                duration_s=1.0 if quick else duration,
                repeats=1 if quick else repeats,
                many_streams=MANY if connections_test and not quick and not observability else None,
            )
            result = _run(plan, Tools(peer_dir.expanduser(), vllm_router), screen)
        else:
            result = read_json(render, NAME)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if json is not None:
        write_json(json, result)
    _show(result, screen)
    if update_readme:
        rewrite_between_markers(_README, NAME, _markdown(result))
    if check and _failed(result):
        raise typer.Exit(1)


def _run(plan: Plan, tools: Tools, screen: Console) -> dict[str, Any]:
    if split_cores(all_cores()).shared:
        screen.print("One core only: load and subject share it, latency and rates say little.")
    facts = fingerprint()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Drawn only between cells: a bar that moves by itself would take time from the load.
    with (
        tempfile.TemporaryDirectory(prefix="bench-overhead-") as folder,
        Progress(*columns, console=screen, auto_refresh=False, transient=True) as progress,
    ):
        bar = progress.add_task("starting", total=plan.steps)

        def advance(what: str) -> None:
            progress.update(bar, advance=1, description=what, refresh=True)

        measured = uvloop.run(measure(plan, tools, Path(folder), advance))
    return {
        "benchmark": NAME,
        "fingerprint": facts,
        "plan": {
            "arms": [arm.name for arm in plan.arms],
            "bodies": [body.name for body in plan.bodies],
            "duration_s": plan.duration_s,
            "repeats": plan.repeats,
            "connections": plan.connections,
            "many_streams": plan.many_streams,
        },
        "arms": {
            arm.name: {
                "version": measured.versions.get(arm.name),
                "trouble": measured.troubles.get(arm.name),
            }
            for arm in plan.arms
        },
        "figures": figures(measured),
        "spoiled": sorted(spoiled(measured)),
        "rows": {
            "costs": as_rows(measured.costs),
            "latencies": as_rows(measured.latencies),
            "streams": as_rows(measured.streams),
        },
    }


def _show(result: dict[str, Any], screen: Console) -> None:
    for table in tables(result):
        table.print(screen)
    goals_table(verdicts(result), colour=True).print(screen)
    for name, arm in result["arms"].items():
        if arm["trouble"]:
            screen.print(f"{name} was left out: {arm['trouble']}", markup=False)
    screen.print(one_line(result["fingerprint"]), markup=False)


def _markdown(result: dict[str, Any]) -> str:
    parts = [*tables(result), goals_table(verdicts(result))]
    left_out = [
        f"- {name} was left out: {arm['trouble']}" for name, arm in result["arms"].items() if arm["trouble"]
    ]
    return "\n\n".join(
        [*(part.markdown() for part in parts), *left_out, f"Measured on: {one_line(result['fingerprint'])}."]
    )


def _failed(result: dict[str, Any]) -> bool:
    """A missed goal, or an arm of ours that could not be measured at all."""
    ours = {arm.name for arm in (*ARMS, *OBSERVATION) if arm.ours}
    missed = any(verdict.status is Status.MISSED for verdict in verdicts(result))
    return missed or any(arm["trouble"] for name, arm in result["arms"].items() if name in ours)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _bodies(names: list[str]) -> list[Any]:
    for name in names:
        if name not in BODIES:
            raise ValueError(f"--bodies: expected some of {', '.join(BODIES)}; got {name!r}")
    return [BODIES[name] for name in names]
