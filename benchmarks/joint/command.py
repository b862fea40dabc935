"""The command `joint`: options in, a run or a kept result, tables out. No simulating lives here."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.fingerprint import fingerprint, one_line
from benchmarks.goals import Status
from benchmarks.joint.cells import MIDDLE, QUICK_S, RIVALS, SEEDS, Cell, capacity, cells, run_cells
from benchmarks.joint.figures import matches, tables
from benchmarks.joint.prompts import WORKLOADS
from benchmarks.report import console, read_json, write_json

NAME = "joint"


def joint(
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="One workload at one load, one seed, a minute of traffic.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; all cores unless told.")] = len(
        os.sched_getaffinity(0)
    ),
    json: Annotated[Path | None, typer.Option(help="Write the result here.")] = None,
    render: Annotated[Path | None, typer.Option(help="Show this result file and simulate nothing.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 where a goal is not met.")] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Find what the other arms bear, and nothing else.")
    ] = False,
) -> None:
    """Tier and replica in one choice, against the tier first, at equal quality: two pools in virtual time."""
    screen = console()
    if calibrate:
        for workload in WORKLOADS:
            for arm in RIVALS:
                screen.print(f"{workload} {arm}: {capacity(workload, arm):.2f} conversations a second")
        return
    try:
        result = _run(quick, jobs, screen) if render is None else read_json(render, NAME)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if json is not None:
        write_json(json, result)
    for table in tables(result["rows"], colour=True):
        table.print(screen)
    screen.print(one_line(result["fingerprint"]), markup=False)
    if check and not all(match.status is Status.MET for match in matches(result["rows"])):
        raise typer.Exit(1)


def _run(quick: bool, jobs: int, screen: Console) -> dict[str, Any]:
    facts = fingerprint()
    wanted = cells(["chat"], [MIDDLE], SEEDS[:1], QUICK_S) if quick else cells(WORKLOADS)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        bar = progress.add_task("simulating", total=len(wanted))

        def done(cell: Cell) -> None:
            progress.update(bar, advance=1, description=f"{cell.workload} {cell.load:g} {cell.arm}")

        rows = run_cells(wanted, jobs, done)
    return {
        "benchmark": NAME,
        "fingerprint": facts,
        "plan": {"cells": [asdict(cell) for cell in wanted]},
        "rows": rows,
    }
