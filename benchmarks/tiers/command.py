"""The command `tiers`: options in, a run or a kept result, tables out. No measuring lives here."""

from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.fingerprint import fingerprint, one_line
from benchmarks.goals import Status
from benchmarks.report import console, read_json, write_json
from benchmarks.tiers.data import FILES, load
from benchmarks.tiers.figures import judged, tables
from benchmarks.tiers.measure import QUICK, Plan, run, steps

NAME = "tiers"


def tiers(
    *,
    data: Annotated[
        Path | None, typer.Option(help="The directory of the prompts: see `files` in benchmarks/README.md.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few draws, and any rows: files need not be the whole ones.")
    ] = False,
    weights: Annotated[
        Path | None, typer.Option(help="Write the weights here that these prompts give.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the result here.")] = None,
    render: Annotated[Path | None, typer.Option(help="Show this result file and measure nothing.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 where a goal is missed.")] = False,
) -> None:
    """How well prompts are told apart: the bundled score on benchmarks it never met, own labels, shares, floors, speed."""
    screen = console()
    try:
        if render is not None:
            result = read_json(render, NAME)
        else:
            result = _run(data, QUICK if quick else Plan(), weights, screen, quick=quick)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if json is not None:
        write_json(json, result)
    for table in tables(result, colour=True):
        table.print(screen)
    screen.print(one_line(result["fingerprint"]), markup=False)
    if check and any(one.status is Status.MISSED for one in judged(result)):
        raise typer.Exit(1)


def _run(
    directory: Path, plan: Plan, weights: Path | None, screen: Console, *, quick: bool
) -> dict[str, Any]:
    if directory is None:
        raise ValueError("--data: expected a directory with " + ", ".join(FILES))
    facts = fingerprint()
    data = load(directory, check=not quick)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        bar = progress.add_task("reading prompts", total=steps(data))
        result, arrays = run(data, plan, lambda what: progress.update(bar, advance=1, description=what))
    if weights is not None:
        packed = BytesIO()
        np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
        weights.write_bytes(packed.getvalue())
    return {"benchmark": NAME, "fingerprint": facts, "plan": asdict(plan), **result}
