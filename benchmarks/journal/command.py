"""The command `journal`: options in, a run or a kept result, tables out."""

import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from balancer.config import Settings
from balancer.journal.opening import POLICIES
from benchmarks.fingerprint import fingerprint, one_line
from benchmarks.goals import Goal, Status, Verdict, judge
from benchmarks.journal.measure import Measured, Plan, measure
from benchmarks.journal.traffic import KINDS
from benchmarks.report import Table, console, goals_table, number, read_json, write_json

NAME = "journal"
MILLION = 1_000_000
TRAFFIC, WORST = KINDS

GOALS = (
    Goal("a request, written", f"bytes/{TRAFFIC}", 300, unit="bytes"),
    Goal("a decision, made again (20,000 a second)", f"replay_us/{TRAFFIC}", 50, unit="us"),
    Goal("decisions that came out otherwise", f"different/{TRAFFIC}", 0),
    Goal("a request of a distinct prompt, written", f"bytes/{WORST}", 300, unit="bytes"),
)


def journal(
    *,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 where a goal is missed.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the result here.")] = None,
    policy: Annotated[str, typer.Option(help="The policy that chooses.")] = Settings.model_fields[
        "policy"
    ].default,
    requests: Annotated[int, typer.Option(min=1000, help="Requests that are decided and written.")] = MILLION,
    quick: Annotated[bool, typer.Option("--quick", help="10,000 requests.")] = False,
    render: Annotated[Path | None, typer.Option(help="Show this result file and measure nothing.")] = None,
) -> None:
    """What a journal costs a decision in CPU and bytes, and how fast it is made again, the same."""
    screen = console()
    try:
        if policy not in POLICIES:
            raise ValueError(f"--policy: expected one of {', '.join(POLICIES)}; got {policy!r}")  # noqa: TRY301 - as others
        result = read_json(render, NAME) if render is not None else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if result is None:
        result = _run(policy, 10_000 if quick else requests, screen)
    if json is not None:
        write_json(json, result)
    for table in tables(result):
        table.print(screen)
    found = verdicts(result)
    goals_table(found, colour=True).print(screen)
    screen.print(one_line(result["fingerprint"]), markup=False)
    if check and any(verdict.status is Status.MISSED for verdict in found):
        raise typer.Exit(1)


def _run(policy: str, requests: int, screen: Console) -> dict[str, Any]:
    facts = fingerprint()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    figures: dict[str, float] = {}
    with (
        Progress(*columns, console=screen, auto_refresh=False, transient=True) as progress,
        tempfile.TemporaryDirectory() as folder,
    ):
        bar = progress.add_task("starting", total=None)
        for kind in KINDS:
            wanted = requests if kind == TRAFFIC else max(1000, requests // 20)
            measured = measure(
                Plan(kind, policy, wanted),
                Path(folder),
                lambda what: progress.update(bar, description=what, refresh=True),
            )
            figures |= {f"{name}/{kind}": value for name, value in figures_of(measured, wanted).items()}
    plan = {"policy": policy, "requests": requests}
    return {"benchmark": NAME, "fingerprint": facts, "plan": plan, "figures": figures}


def figures_of(measured: Measured, requests: int) -> dict[str, float]:
    per_chunk = requests / len(measured.on_s)
    on_s = measured.on_s[: len(measured.off_s)]
    return {
        "requests": requests,
        "decisions": measured.decisions,
        "off_us": 1e6 * median(measured.off_s) / per_chunk,
        "on_us": 1e6 * median(on_s) / per_chunk,
        "journal_us": 1e6
        * median(on - off for on, off in zip(on_s, measured.off_s, strict=True))
        / per_chunk,
        "bytes": measured.bytes / requests,
        "bytes_a_decision": measured.bytes / measured.decisions,
        "lost_events": measured.lost_events,
        "replayed": measured.replayed,
        "different": measured.different + abs(measured.decisions - measured.replayed),
        "replay_us": 1e6 * measured.replay_s / measured.replayed,
        "read_us": 1e6 * measured.read_s / measured.replayed,
        "replayed_per_s": measured.replayed / measured.replay_s,
    }


def verdicts(result: dict[str, Any]) -> list[Verdict]:
    return judge(GOALS, result["figures"])


def tables(result: dict[str, Any]) -> list[Table]:
    figures = result["figures"]
    rows = []
    for kind in KINDS:
        got = {name.partition("/")[0]: value for name, value in figures.items() if name.endswith(f"/{kind}")}
        rows.append(
            (
                kind,
                number(got["decisions"]),
                number(got["off_us"], 1),
                number(got["journal_us"], 1),
                number(got["bytes"]),
                number(got["replayed_per_s"]),
                number(got["read_us"], 1),
                number(got["replayed"]),
                number(got["different"]),
            )
        )
    columns = (
        "prompts", "decisions", "a request, us", "its journal, us", "bytes a request", "made again /s",
        "of that reading, us", "verified", "different",
    )  # fmt: skip
    return [
        Table(f"Journal of `{result['plan']['policy']}`, 8 replicas; CPU of the core alone", columns, rows)
    ]
