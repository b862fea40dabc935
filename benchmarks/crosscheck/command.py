"""The command `crosscheck`: options in, a run or a kept result, tables out. No measuring lives here."""

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import farm, fleets
from benchmarks.crosscheck import aiperf, guidellm, ours, vllm_bench
from benchmarks.crosscheck.figures import LEAST_ROUNDS, MOST_ROUNDS, tables
from benchmarks.crosscheck.generator import Generator
from benchmarks.crosscheck.load import Load, drawn
from benchmarks.crosscheck.runs import rounds
from benchmarks.fingerprint import fingerprint, one_line
from benchmarks.load.target import Target
from benchmarks.peers.environment import DEFAULT_PEER_DIR, PeerDir
from benchmarks.peers.peer import Tools, UnavailableError
from benchmarks.processes import NotServingError
from benchmarks.report import console, read_json, rewrite_between_markers, write_json

NAME = "crosscheck"
_README = Path(__file__).resolve().parent.parent / "README.md"
_PROFILE = "llama-3.1-8b-h100"


def crosscheck(
    *,
    target: Annotated[
        str | None,
        typer.Option(help="A server's base URL; an embedded replica is started where none is given."),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.01, help="Requests a second.")] = 4.0,
    requests: Annotated[int, typer.Option(min=10, help="Requests of each run.")] = 120,
    prompt_words: Annotated[int, typer.Option(min=2, help="Words of a prompt, on average.")] = 2_000,
    output_tokens: Annotated[int, typer.Option(min=2, help="Tokens of every answer.")] = 64,
    repeats: Annotated[
        int, typer.Option(min=LEAST_ROUNDS, max=MOST_ROUNDS, help="Rounds over all generators.")
    ] = 4,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of prompts and arrivals.")] = 1,
    vllm_python: Annotated[
        Path | None,
        typer.Option(
            envvar="BENCH_VLLM_PYTHON", help="An interpreter with vllm[bench]; else scripts/real-vllm's."
        ),
    ] = None,
    peer_dir: PeerDir = DEFAULT_PEER_DIR,
    json: Annotated[Path | None, typer.Option(help="Write the result here.")] = None,
    render: Annotated[Path | None, typer.Option(help="Show this result file and measure nothing.")] = None,
    update_readme: Annotated[
        bool, typer.Option("--update-readme", help="Write the tables to the README.")
    ] = False,
) -> None:
    """The same load through this project's load generator, vllm bench serve, AIPerf and GuideLLM, side by side."""
    screen = console()
    try:
        if render is None:
            load = drawn(
                requests=requests,
                rate=rate,
                prompt_words=prompt_words,
                output_tokens=output_tokens,
                seed=seed,
            )
            python = (vllm_python or farm.VENV / "bin" / "python").absolute()
            result = _run(load, target, repeats, Tools(peer_dir.expanduser().absolute()), python, screen)
        else:
            result = read_json(render, NAME)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except NotServingError as error:
        screen.print(str(error), markup=False)
        raise typer.Exit(1) from error
    if json is not None:
        write_json(json, result)
    for table in tables(result["rounds"], ours.NAME):
        table.print(screen)
    screen.print(_footnote(result), markup=False)
    if update_readme:
        rewrite_between_markers(_README, NAME, _markdown(result))


def _run(
    load: Load, target: str | None, repeats: int, tools: Tools, python: Path, screen: Console
) -> dict[str, Any]:
    found, missing = _found(
        {
            ours.NAME: ours.find,
            vllm_bench.NAME: lambda: vllm_bench.find(python),
            aiperf.PIN.name: lambda: aiperf.find(tools),
            guidellm.PIN.name: lambda: guidellm.find(tools),
        }
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Drawn only between runs: a bar that moves by itself would take time from the load.
    with (
        tempfile.TemporaryDirectory(prefix="bench-crosscheck-") as folder,
        _target(target, Path(folder)) as served,
        Progress(*columns, console=screen, auto_refresh=False, transient=True) as progress,
    ):
        bar = progress.add_task("starting", total=repeats * len(found))

        def advance(what: str) -> None:
            progress.update(bar, advance=1, description=what, refresh=True)

        measured = rounds(found, load, served, repeats, Path(folder), advance)
    if ours.NAME in measured.failures:
        raise NotServingError(measured.failures[ours.NAME])
    return {
        "benchmark": NAME,
        "fingerprint": fingerprint(),
        "plan": {
            "target": target or f"embedded replica, {_PROFILE}",
            "requests": len(load.prompts),
            "rate": load.rate,
            "output_tokens": load.output_tokens,
            "seed": load.seed,
            "repeats": repeats,
        },
        "versions": {generator.name: generator.version for generator in found},
        "missing": missing | measured.failures,
        "rounds": measured.rows,
    }


def _found(finds: dict[str, Callable[[], Generator]]) -> tuple[list[Generator], dict[str, str]]:
    """The generators that this machine has, and of the others the reason."""
    found, missing = [], {}
    for name, find in finds.items():
        try:
            found.append(find())
        except UnavailableError as error:
            missing[name] = str(error)
    return found, missing


@contextlib.contextmanager
def _target(url: str | None, folder: Path) -> Iterator[Target]:
    if url is None:
        with fleets.embedded(1, _PROFILE, folder) as fleet:
            yield Target(fleet.urls[0], fleet.model)
    else:
        fleet = asyncio.run(fleets.external([url]))
        yield Target(fleet.urls[0], fleet.model)


def _footnote(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    left_out = [f"{name} was left out: {why}" for name, why in result["missing"].items()]
    plan = ", ".join(f"{name} {value}" for name, value in result["plan"].items())
    return "\n".join([f"{plan}.", f"{versions}.", *left_out, one_line(result["fingerprint"])])


def _markdown(result: dict[str, Any]) -> str:
    parts = [table.markdown() for table in tables(result["rounds"], ours.NAME)]
    return "\n\n".join([*parts, *_footnote(result).splitlines()])
