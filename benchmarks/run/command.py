"""The command `run`: options in, a measured run, its figures out. No measuring lives here."""

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console

from benchmarks.fingerprint import one_line
from benchmarks.goals import Status
from benchmarks.load.live import Progress
from benchmarks.load.target import Target, Wire
from benchmarks.pages.command import TITLE
from benchmarks.pages.html import page
from benchmarks.pages.sections import sections
from benchmarks.processes import NotServingError
from benchmarks.report import Table, console, status_cell, write_json, write_text
from benchmarks.reporting.checks import Assertion, Check, check, validity
from benchmarks.reporting.documents import Document
from benchmarks.reporting.junit import junit
from benchmarks.reporting.service import ServiceLevel
from benchmarks.reporting.tables import tables
from benchmarks.run.job import POISSON, Job, Rhythm, model_of
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.choose import Wanted
from benchmarks.workloads.script import Script

INTERRUPTED = 130


def run(
    *,
    target: Annotated[str, typer.Option(help="Base URL of any OpenAI endpoint, with or without /v1.")] = "",
    workload: Annotated[str, typer.Option(help="A name (see --list) or a recording.")] = "chat",
    show_list: Annotated[
        bool, typer.Option("--list", help="Describe the workloads and measure nothing.")
    ] = False,
    rate: Annotated[
        str | None,
        typer.Option(
            help="Arrivals a second: 12; steps 4@60,8@60,16 (each but the last with its seconds); ramps 2..20@120,20."
        ),
    ] = None,
    load: Annotated[
        float | None,
        typer.Option(help="Instead of a rate: a share of what the simulator says that --replicas bear."),
    ] = None,
    burstiness: Annotated[
        float,
        typer.Option(help="Shape of the gamma distributed gaps: 1 is Poisson, less is bursty, inf is even."),
    ] = POISSON,
    duration: Annotated[
        float | None, typer.Option(help="Seconds of arrivals; the workload's own if not told.")
    ] = None,
    warm_up: Annotated[
        float | None, typer.Option(help="Of these, the first so many are not measured.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds are equal traffic, to the byte.")] = 1,
    replicas: Annotated[
        int, typer.Option(help="Replicas that the workload's shared prefixes are dimensioned for.")
    ] = 8,
    scale: Annotated[int, typer.Option(help="Divide all lengths in tokens by this.")] = 1,
    speed: Annotated[float | None, typer.Option(help="Replay a recording so many times as fast.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many requests of a recording.")] = None,
    model: Annotated[str, typer.Option(help="The first that the target lists if not told.")] = "",
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable that holds the API key.")
    ] = "OPENAI_API_KEY",
    session_header: Annotated[str | None, typer.Option(help="Name each conversation in this header.")] = None,
    patience: Annotated[
        float, typer.Option(min=0.001, help="Seconds after which clients give an answer up.")
    ] = 600.0,
    ignore_eos: Annotated[
        bool, typer.Option(help="Ask for answers of the drawn length, which vLLM can and others may refuse.")
    ] = True,
    bytes_per_token: Annotated[
        float | None, typer.Option(help="Size prompts so, where the target has no /tokenize.")
    ] = None,
    replica_urls: Annotated[
        str,
        typer.Option(
            help="The vLLM replicas behind the target, by commas: their own hit rates are told too."
        ),
    ] = "",
    metrics_url: Annotated[
        str | None, typer.Option(help="This balancer's metrics page: what it predicted is told too.")
    ] = None,
    goodput: Annotated[
        list[str] | None, typer.Option(help="Service level in ms, as 'ttft:500 tpot:50 e2el:5000'.")
    ] = None,
    asserted: Annotated[
        list[str] | None, typer.Option("--assert", help="Exit 1 unless it holds: 'ttft_p90_ms<500'.")
    ] = None,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", help="Write the checks for a CI system.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the result here, as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots here.")] = None,
) -> None:
    """Load a target with a workload and tell what its clients saw."""
    screen = console()
    if show_list:
        Table("", ("workload", "clients"), [(each.name, each.tells) for each in WORKLOADS.values()]).print(
            screen
        )
        return
    try:
        assertions = [Assertion.parse(text) for text in asserted or ()]
        job = Job(
            _target(target, model, os.environ.get(api_key_env) or None, session_header, patience),
            Wanted(
                workload,
                load=load,
                duration_s=duration,
                warm_up_s=warm_up,
                seed=seed,
                replicas=replicas,
                scale=scale,
                speed=speed,
                limit=limit,
                ignore_eos=ignore_eos,
            ),
            Rhythm.parse(rate, burstiness),
            tuple(url for url in replica_urls.split(",") if url),
            metrics_url,
            bytes_per_token,
            ServiceLevel.parse(goodput or ()),
        )
        script = asyncio.run(job.script())
        document = _played(job, script, screen)
        checks = [validity(document), *check(assertions, document)]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except NotServingError as error:
        screen.print(f"run: {error}", markup=False)
        raise typer.Exit(1) from error
    for table in tables(document):
        table.print(screen)
    for each in checks:
        screen.print(f"{each.title}: {status_cell(each.status, each.why, colour=True)}")
    screen.print(one_line(document["fingerprint"]), markup=False)
    _write(_Files(out, html, junit_file), document, checks)
    if document["invalid"] == "interrupted":
        raise typer.Exit(INTERRUPTED)
    if any(each.status is not Status.MET for each in checks):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Files:
    out: Path | None
    html: Path | None
    junit: Path | None


def _write(files: _Files, document: Document, checks: list[Check]) -> None:
    if files.out is not None:
        write_json(files.out, document)
    if files.html is not None:
        write_text(files.html, page(TITLE, sections([(document["label"], document)])))
    if files.junit is not None:
        facts: dict[str, Any] = document["fingerprint"]
        told = junit(
            checks,
            suite=f"run {document['label']}",
            taken_at=facts["taken_at"],
            duration_s=document["duration"],
        )
        write_text(files.junit, told)


def _target(
    url: str, model: str, api_key: str | None, session_header: str | None, patience_s: float
) -> Target:
    if not url:
        raise ValueError("--target: expected the base URL of an OpenAI endpoint")
    target = Target(url, model, api_key, session_header, patience_s)
    Wire(target)  # says what is wrong with it
    return target if model else replace(target, model=asyncio.run(model_of(url, api_key)))


def _played(job: Job, script: Script, screen: Console) -> Document:
    """On uvloop, where the client costs least."""
    stages = list(script.stages())
    screen.print(
        f"{script.name} {script.digest()}: {sum(len(stage.conversations) for stage in stages):,} conversations over "
        f"{sum(stage.end_s for stage in stages):,.0f} s to {job.target.url} ({job.target.model})",
        markup=False,
    )
    progress = Progress(sum(stage.end_s for stage in stages))
    with progress.showing(screen):
        return uvloop.run(job.run(script, progress.on_sent, progress.on_record))
