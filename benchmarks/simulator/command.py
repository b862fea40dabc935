"""The command `simulate`: options in, a run or kept results, tables and a plot out. No simulating lives here."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.fingerprint import fingerprint, one_line
from benchmarks.goals import Status
from benchmarks.report import console, read_json, write_json
from benchmarks.simulator.arms import ARMS
from benchmarks.simulator.calibrate import capacities
from benchmarks.simulator.comparison import tables
from benchmarks.simulator.goals import by_suite, judge
from benchmarks.simulator.plot import svg
from benchmarks.simulator.suites import SUITES, Cell, Suite, run_cells
from benchmarks.simulator.verdicts import best_others_table, goals_table, losing_table
from benchmarks.workloads import WORKLOADS

NAME = "simulate"


def simulate(
    files: Annotated[list[Path] | None, typer.Argument(help="Result files, for --report.")] = None,
    *,
    suite: Annotated[
        str, typer.Option(help="; ".join(f"{s.name}: {s.tells}" for s in SUITES.values()))
    ] = "quick",
    policies: Annotated[str, typer.Option(help=f"Names, by commas, of: {', '.join(ARMS)}.")] = "",
    workloads: Annotated[str, typer.Option(help="Only these of the suite's, by commas.")] = "",
    loads: Annotated[str, typer.Option(help="Only these of the suite's, by commas.")] = "",
    seeds: Annotated[str, typer.Option(help="Numbers, by commas; the suite's own if none.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Processes; all cores unless told.")] = len(
        os.sched_getaffinity(0)
    ),
    json: Annotated[Path | None, typer.Option(help="Write the result here.")] = None,
    render: Annotated[Path | None, typer.Option(help="Show this result file and simulate nothing.")] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Judge every goal by these result files, and simulate nothing.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw TTFT P90 over load, as SVG.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 where a goal is not met.")] = False,
    calibrate: Annotated[
        str, typer.Option(help="Find the capacity of these workloads, by commas, and nothing else.")
    ] = "",
) -> None:
    """Policies over modelled replicas in virtual time: TTFT, hit rate and throughput beside an oracle's."""
    screen = console()
    try:
        if calibrate:
            for name, capacity in capacities(_known(calibrate, WORKLOADS, "--calibrate"), jobs):
                screen.print(f"{name}: {capacity:.3f} arrivals a second and replica")
            return
        if report or files:
            results = _kept(files, report)
        elif render is not None:
            results = [read_json(render, NAME)]
        else:
            chosen = SUITES[_known(suite, SUITES, "--suite")[0]]
            arms = _known(policies, ARMS, "--policies") or list(chosen.arms)
            cells = _cells(chosen, arms, workloads, loads, seeds)
            results = [_run(chosen, cells, jobs, screen)]
        if json is not None and not report:
            write_json(json, results[0])
        measured = by_suite(results)
        if plot is not None:
            plot.parent.mkdir(parents=True, exist_ok=True)
            plot.write_text(svg(measured.get("policies") or next(iter(measured.values()))), encoding="utf-8")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not report:
        for table in tables(results[0]):
            table.print(screen)
    lines = judge(measured, whole=report)
    if lines:
        if "policies" in measured:
            best_others_table(measured["policies"]).print(screen)
        if any(line.losing for line in lines):
            losing_table(lines).print(screen)
        goals_table(lines, colour=True).print(screen)
    for result in results:
        screen.print(one_line(result["fingerprint"]), markup=False)
    if check and not all(line.status is Status.MET for line in lines):
        raise typer.Exit(1)


def _kept(files: list[Path] | None, report: bool) -> list[dict[str, Any]]:
    if not files or not report:
        raise ValueError("--report: expected result files with it, and none without it")
    return [read_json(file, NAME) for file in files]


def _cells(suite: Suite, arms: list[str], workloads: str, loads: str, seeds: str) -> list[Cell]:
    only_workloads = set(_known(workloads, WORKLOADS, "--workloads"))
    only_loads = {_number(text, "--loads") for text in _names(loads)}
    chosen_seeds = [int(_number(text, "--seeds")) for text in _names(seeds)] or suite.seeds
    cells = [
        cell
        for cell in suite.expand(arms, chosen_seeds)
        if (not only_workloads or cell.workload in only_workloads)
        and (not only_loads or cell.load in only_loads)
    ]
    if not cells:
        raise ValueError(f"--workloads, --loads: expected some that suite {suite.name} has")
    return cells


def _run(suite: Suite, cells: list[Cell], jobs: int, screen: Console) -> dict[str, Any]:
    facts = fingerprint()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        bar = progress.add_task("simulating", total=len(cells))

        def done(cell: Cell) -> None:
            what = f"{cell.workload} {cell.load:g} {cell.arm} {cell.variant}"
            progress.update(bar, advance=1, description=what)

        rows = run_cells(cells, jobs, done)
    return {
        "benchmark": NAME,
        "fingerprint": facts,
        "plan": {"suite": suite.name, "cells": [asdict(cell) for cell in cells]},
        "rows": rows,
    }


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _known(text: str, known: dict[str, Any], option: str) -> list[str]:
    names = _names(text)
    for name in names:
        if name not in known:
            raise ValueError(f"{option}: expected some of {', '.join(known)}; got {name!r}")
    return names


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{option}: expected numbers by commas, got {text!r}") from None
