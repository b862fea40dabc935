"""The command `scrape`: options in, a run or a kept result, tables out."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.fingerprint import fingerprint, one_line
from benchmarks.goals import Goal, Status, Verdict, judge
from benchmarks.report import Table, console, goals_table, number, read_json, write_json
from benchmarks.scrape.page import Written, written
from benchmarks.scrape.streams import Gaps, gaps
from benchmarks.stats import median, percentile

NAME = "scrape"

GOALS = (
    Goal("the page is written in, P50", "page_p50_ms", 50, unit="ms"),
    Goal("P99 gap between chunks, scraped to quiet", "gap_p99_ms/scraped", 1.05, "gap_p99_ms/quiet"),
)


def scrape(
    *,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 where a goal is missed.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the result here.")] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Replicas of the fleet.")] = 64,
    models: Annotated[int, typer.Option(min=1, help="Models, each on every replica.")] = 4,
    streams: Annotated[int, typer.Option(min=1, help="Streams that are open meanwhile.")] = 64,
    windows: Annotated[int, typer.Option(min=1, help="Windows with a scraper, and as many without.")] = 4,
    duration: Annotated[float, typer.Option(min=0.5, help="Seconds of each window.")] = 10.0,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between scrapes.")] = 5.0,
    render: Annotated[Path | None, typer.Option(help="Show this result file and measure nothing.")] = None,
) -> None:
    """What a scrape of a large fleet's metrics costs, and whether streams feel it."""
    screen = console()
    try:
        result = read_json(render, NAME) if render is not None else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if result is None:
        plan = {
            "replicas": replicas,
            "models": models,
            "streams": streams,
            "windows": windows,
            "window_s": duration,
            "interval_s": interval,
        }
        result = _run(plan, screen)
    if json is not None:
        write_json(json, result)
    for table in tables(result):
        table.print(screen)
    found = verdicts(result)
    goals_table(found, colour=True).print(screen)
    screen.print(one_line(result["fingerprint"]), markup=False)
    if check and any(verdict.status is Status.MISSED for verdict in found):
        raise typer.Exit(1)


def _run(plan: dict[str, Any], screen: Console) -> dict[str, Any]:
    facts = fingerprint()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="bench-scrape-") as folder,
        Progress(*columns, console=screen, auto_refresh=False, transient=True) as progress,
    ):
        bar = progress.add_task("starting", total=2 + 2 * plan["windows"])

        def advance(what: str) -> None:
            progress.update(bar, advance=1, description=what, refresh=True)

        advance("the page")
        page = written(plan["replicas"], plan["models"], 30)
        seen = uvloop.run(gaps(Path(folder), advance, **plan))
    return {"benchmark": NAME, "fingerprint": facts, "plan": plan, "figures": figures(page, seen)}


def figures(page: Written, seen: Gaps) -> dict[str, float]:
    found: dict[str, float | None] = {
        "page_bytes": float(page.bytes),
        "page_series": float(page.series),
        "page_p50_ms": _ms(median(page.took_s)),
        "page_max_ms": _ms(max(page.took_s)),
        "page_cpu_p50_ms": _ms(median(page.cpu_s)),
        "piece_p50_ms": _ms(median(page.longest_s)),
        "piece_max_ms": _ms(max(page.longest_s)),
        "scrapes": float(len(seen.scrapes_s)),
        "scraped_bytes": float(seen.page_bytes),
        "scrape_p50_ms": _ms(median(seen.scrapes_s)),
        "scrape_max_ms": _ms(max(seen.scrapes_s, default=None)),
    }
    for kind, values in (("quiet", seen.quiet_s), ("scraped", seen.scraped_s)):
        found[f"gaps/{kind}"] = float(len(values))
        for q in (50, 99, 99.9):
            found[f"gap_p{q:g}_ms/{kind}"] = _ms(percentile(values, q))
    return {key: value for key, value in found.items() if value is not None}


def verdicts(result: dict[str, Any]) -> list[Verdict]:
    return judge(GOALS, result["figures"])


def tables(result: dict[str, Any]) -> list[Table]:
    got, plan = result["figures"], result["plan"]
    page = (
        ("bytes", number(got["page_bytes"])),
        ("series", number(got["page_series"])),
        ("written in, P50, ms", number(got["page_p50_ms"], 1)),
        ("written in, worst of 30, ms", number(got["page_max_ms"], 1)),
        ("CPU of that, P50, ms", number(got["page_cpu_p50_ms"], 1)),
        ("CPU of its longest piece, P50, ms", number(got["piece_p50_ms"], 1)),
        ("and the worst, ms", number(got["piece_max_ms"], 1)),
        ("a scrape over HTTP, P50, ms", number(got.get("scrape_p50_ms"), 1)),
        ("and the worst, ms", number(got.get("scrape_max_ms"), 1)),
    )
    streams = [
        (
            kind,
            *(number(got.get(f"gap_p{q}_ms/{kind}"), 2) for q in ("50", "99", "99.9")),
            number(got[f"gaps/{kind}"]),
        )
        for kind in ("quiet", "scraped")
    ]
    title = f"{plan['streams']} streams, a scrape each {plan['interval_s']:g} s: gaps between chunks, ms"
    return [
        Table(
            f"/metrics of {plan['replicas']} replicas with {plan['models']} models", ("figure", "value"), page
        ),
        Table(title, ("", "P50", "P99", "P99.9", "gaps"), streams),
    ]


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else value_s * 1000
