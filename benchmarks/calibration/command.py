"""The command `calibrate`: options in, a measured or a kept result, tables out. No measuring and no fitting lives here."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.calibration.comparison import compare, error_figures, tables, verdicts
from benchmarks.calibration.fit import fit
from benchmarks.calibration.measured import Replica
from benchmarks.calibration.modelled import Setting
from benchmarks.calibration.plan import plan
from benchmarks.calibration.points import Measured
from benchmarks.calibration.replica import Start, serving
from benchmarks.farm import VENV
from benchmarks.fingerprint import fingerprint, one_line
from benchmarks.goals import Status
from benchmarks.processes import NotServingError
from benchmarks.report import console, goals_table, read_json, rewrite_between_markers, write_json

NAME = "calibrate"
_README = Path(__file__).resolve().parents[1] / "simulator" / "README.md"


def calibrate(
    *,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 where the goal is missed.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the result here.")] = None,
    url: Annotated[
        str,
        typer.Option(help="A vLLM that runs already, with VLLM_SERVER_DEV_MODE=1, and serves nobody else."),
    ] = "",
    venv: Annotated[
        Path, typer.Option(envvar="REAL_VLLM_VENV", help="The vLLM to start a replica from.")
    ] = VENV,
    preset: Annotated[str, typer.Option(help="The model of a replica that is started.")] = "small",
    max_num_seqs: Annotated[int, typer.Option(min=1, help="Of the replica, started here or not.")] = 16,
    max_num_batched_tokens: Annotated[int, typer.Option(min=1, help="Likewise.")] = 2048,
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds; medians are compared.")] = 3,
    render: Annotated[
        Path | None, typer.Option(help="Fit and model anew what this result file has; measure nothing.")
    ] = None,
    update_readme: Annotated[
        bool, typer.Option("--update-readme", help="Write the tables to the simulator's README.")
    ] = False,
) -> None:
    """The engine model beside a real vLLM: fitted on one part of what was measured, judged by the other."""
    screen = console()
    try:
        if render is None:
            start = Start(venv.expanduser(), preset, max_num_seqs, max_num_batched_tokens)
            with _replica(url, start, screen) as there:
                result = asyncio.run(_measured(there, start, rounds, screen))
        else:
            result = read_json(render, NAME)
        setting, measured = _kept(result)
        points = plan(setting)
        costs = fit(points, {name: each.figures for name, each in measured.items()}, setting)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except NotServingError as error:
        raise typer.BadParameter(f"vLLM did not start: {error}") from error
    except (OSError, aiohttp.ClientError) as error:
        raise typer.BadParameter(f"{url or 'vLLM'}: expected a replica that answers: {error}") from error
    rows, counts = compare(points, measured, costs, setting)
    result |= {
        "costs": costs._asdict(),
        "figures": error_figures(rows),
        "rows": [asdict(row) for row in rows],
        "counts": [asdict(count) for count in counts],
    }
    if json is not None:
        write_json(json, result)
    shown, found = tables(rows, counts, costs), verdicts(rows)
    for table in (*shown, goals_table(found, colour=True)):
        table.print(screen)
    facts = one_line(result["fingerprint"])
    screen.print(facts, markup=False)
    if update_readme:
        inner = "\n\n".join([*(table.markdown() for table in (*shown, goals_table(found))), facts])
        rewrite_between_markers(_README, NAME, inner)
    if check and any(verdict.status is not Status.MET for verdict in found):
        raise typer.Exit(1)


@contextlib.contextmanager
def _replica(url: str, start: Start, screen: Console) -> Iterator[str]:
    if url:
        yield url
        return
    screen.print("starting vLLM ...")
    with serving(start) as there:
        yield there


async def _measured(url: str, start: Start, rounds: int, screen: Console) -> dict[str, Any]:
    facts = fingerprint()
    async with Replica(url) as replica:
        facts["vllm"] = await replica.version()
        setting = await replica.setting(
            max_num_seqs=start.max_num_seqs, max_num_batched_tokens=start.max_num_batched_tokens
        )
        points = plan(setting)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        # Drawn only between points: a bar that moves by itself would take time from the replica.
        with Progress(*columns, console=screen, auto_refresh=False, transient=True) as progress:
            bar = progress.add_task("measuring", total=len(points) * (rounds + 1))

            def advance() -> None:
                progress.update(bar, advance=1, refresh=True)

            measured = await replica.measure(points, rounds, advance)
    return {
        "benchmark": NAME,
        "fingerprint": facts,
        "setting": asdict(setting),
        "measured": {name: asdict(each) for name, each in measured.items()},
    }


def _kept(result: dict[str, Any]) -> tuple[Setting, dict[str, Measured]]:
    try:
        measured = {name: Measured(**each) for name, each in result["measured"].items()}
        return Setting(**result["setting"]), measured
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"--render: expected a result of `{NAME}`; missing or unknown: {error}") from error
