"""The command `joint`: options in, a run or a kept result, tables out. No simulating lives here."""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.fingerprint import fingerprint, one_line
from benchmarks.goals import Status
from benchmarks.joint.cells import ABLATED, MIDDLE, QUICK_S, RIVALS, Cell, capacity, cells, run_cells
from benchmarks.joint.figures import matches, tables
from benchmarks.joint.prompts import WORKLOADS
from benchmarks.report import console, read_json, rewrite_between_markers, write_json

NAME = "joint"
_README = Path(__file__).parents[1] / "README.md"


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
    update_readme: Annotated[
        bool, typer.Option("--update-readme", help="Write the tables to the README.")
    ] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Find what the other arms bear, and nothing else.")
    ] = False,
) -> None:
    """Tier and replica in one choice, against the tier first, at equal quality: two pools in virtual time."""
    screen = console()
    if calibrate:
        names = list(product(WORKLOADS, RIVALS))
        with ProcessPoolExecutor(jobs) as pool:
            for (workload, arm), found in zip(
                names, pool.map(capacity, *zip(*names, strict=True)), strict=True
            ):
                screen.print(f"{workload} {arm}: {found:.1f} conversations a second")
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
    if update_readme:
        rewrite_between_markers(_README, NAME, markdown(result))
    if check and not all(match.status is Status.MET for match in matches(result["rows"])):
        raise typer.Exit(1)


def markdown(result: dict[str, Any]) -> str:
    """For the README: what bounds and ablations come to, and the verdicts."""
    middle = [row for row in result["rows"] if (row["workload"], row["rival"], row["load"]) == ABLATED]
    *_, figures, _ = tables(middle)
    *_, verdicts = tables(result["rows"])
    facts = f"Measured on: {one_line(result['fingerprint'])}."
    return f"{verdicts.markdown()}\n\n{figures.markdown()}\n\n{facts}"


def _run(quick: bool, jobs: int, screen: Console) -> dict[str, Any]:
    facts = fingerprint()
    wanted = cells({"chat": (1,)}, [MIDDLE], QUICK_S) if quick else cells()
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
