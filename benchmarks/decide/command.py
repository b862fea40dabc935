"""The command `decide`: options in, a run or a kept result, tables out. No measuring lives here."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from balancer.config import Settings
from benchmarks.decide.figures import figures, tables, verdicts
from benchmarks.decide.measure import Plan, measure
from benchmarks.fingerprint import fingerprint, one_line
from benchmarks.goals import Status
from benchmarks.report import console, goals_table, number, read_json, write_json

NAME = "decide"


def decide(
    *,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 where a goal is missed.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the result here.")] = None,
    policy: Annotated[str, typer.Option(help="The policy that chooses.")] = Settings.model_fields[
        "policy"
    ].default,
    calls: Annotated[int, typer.Option(min=1, help="Decisions measured, for each size of fleet.")] = 3000,
    prompts: Annotated[
        int, typer.Option(min=1, help="Distinct prompts pushed through the index.")
    ] = 1_000_000,
    quick: Annotated[bool, typer.Option("--quick", help="500 decisions, 20,000 prompts.")] = False,
    render: Annotated[Path | None, typer.Option(help="Show this result file and measure nothing.")] = None,
) -> None:
    """What one decision costs in CPU, for a chat of 8k tokens, with the index empty and full."""
    screen = console()
    try:
        if render is not None:
            result = read_json(render, NAME)
        else:
            known = _policy(policy)
            result = _run(Plan(known, 500, 20_000) if quick else Plan(known, calls, prompts), screen)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if json is not None:
        write_json(json, result)
    for table in tables(result):
        table.print(screen)
    grown = number(result["figures"].get("growth_mb/filled"))
    screen.print(f"{result['plan']['prompts']:,} prompts took {grown} MB of resident memory.")
    found = verdicts(result)
    goals_table(found, colour=True).print(screen)
    screen.print(one_line(result["fingerprint"]), markup=False)
    if check and any(verdict.status is Status.MISSED for verdict in found):
        raise typer.Exit(1)


def _policy(name: str) -> str:
    known = Settings.model_fields["policy"].annotation.__args__
    if name not in known:
        raise ValueError(f"--policy: expected one of {', '.join(known)}; got {name!r}")
    return name


def _run(plan: Plan, screen: Console) -> dict[str, Any]:
    facts = fingerprint()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, auto_refresh=False, transient=True) as progress:
        bar = progress.add_task("starting", total=plan.steps)

        def advance(what: str) -> None:
            progress.update(bar, advance=1, description=what, refresh=True)

        measured = measure(plan, advance)
    return {
        "benchmark": NAME,
        "fingerprint": facts,
        "plan": {"policy": plan.policy, "calls": plan.calls, "prompts": plan.prompts, "seed": plan.seed},
        "figures": figures(measured, plan.prompts),
    }
