"""The command `compare`: options in, a comparison or the rest of one, tables out. No measuring lives here."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.compare.bench import EMBEDDED, REAL_VLLM, Bench, absent
from benchmarks.compare.comparison import CATALOGUE, MEASURED, compared, document, predict, shown
from benchmarks.compare.judge import OURS
from benchmarks.compare.knee import LOADS, Level
from benchmarks.compare.lanes import lanes_on
from benchmarks.compare.plan import Plan
from benchmarks.compare.run import InterruptedRunError
from benchmarks.fingerprint import fingerprint, one_line
from benchmarks.goals import Status
from benchmarks.pages.command import TITLE
from benchmarks.pages.html import page
from benchmarks.pages.sections import sections
from benchmarks.peers.catalogue import chosen
from benchmarks.peers.environment import DEFAULT_PEER_DIR, PeerDir
from benchmarks.peers.peer import Tools
from benchmarks.processes import NotServingError, all_cores
from benchmarks.report import console, goals_table, write_json, write_text
from benchmarks.reporting.service import ServiceLevel
from benchmarks.simulator.calibrate import LIMIT_S
from benchmarks.workloads.choose import Wanted

_INTERRUPTED = 130


def compare(
    *,
    policies: Annotated[
        str, typer.Option(help="Of our balancer, by commas. The first is the one that is judged.")
    ] = "predicted_latency,round_robin",
    peers: Annotated[
        str, typer.Option(help="Others, by commas; `python -m benchmarks peers` lists them.")
    ] = "",
    workloads: Annotated[str, typer.Option(help="Names or files, by commas.")] = "fresh_questions",
    loads: Annotated[str, typer.Option(help="In knees, by commas.")] = ",".join(f"{x:g}" for x in LOADS),
    repeats: Annotated[int, typer.Option(min=1, help="Even ones cancel what drifts.")] = 2,
    knee: Annotated[
        str,
        typer.Option(
            help=f"What load 1 is: {CATALOGUE} (of embedded replicas), {MEASURED}, or arrivals a second."
        ),
    ] = CATALOGUE,
    fleet: Annotated[
        str, typer.Option(help=f"{EMBEDDED}, {REAL_VLLM}, or URLs of replicas, by commas.")
    ] = EMBEDDED,
    replicas: Annotated[int, typer.Option(min=1)] = 8,
    profile: Annotated[str, typer.Option(help="Hardware of embedded replicas.")] = "qwen3-32b-2xh100",
    scale: Annotated[int, typer.Option(min=1, help="Every token stands for so many.")] = 8,
    duration: Annotated[
        float | None, typer.Option(help="Seconds of arrivals; the workload's own unless told.")
    ] = None,
    warm_up: Annotated[float | None, typer.Option(help="Of these the first that are not measured.")] = None,
    lanes: Annotated[int, typer.Option(min=1, help="Runs at once, each on cores of its own.")] = 1,
    seed: Annotated[int, typer.Option(help="Of scripts and order.")] = 1,
    goodput: Annotated[str, typer.Option(help="ttft:MS tpot:MS e2el:MS, some of them.")] = "",
    out: Annotated[
        Path, typer.Option(help="The result; while it is made, OUT.journal has what is done.")
    ] = Path("compare.json"),
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this journal; all else must be as it was.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the result as a page too.")] = None,
    peer_dir: PeerDir = DEFAULT_PEER_DIR,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 where a goal is not met.")] = False,
) -> None:
    """Our balancer and its peers before the same replicas, under the same load, judged beyond noise."""
    screen = console(190)
    facts = fingerprint()
    try:
        names = _names(loads)
        service = ServiceLevel.parse(goodput)
        tools = Tools(peer_dir.expanduser())
        wanted = Wanted(
            "", 1.0, duration_s=duration, warm_up_s=warm_up, seed=seed, replicas=replicas, scale=scale
        )
        bench = Bench(fleet, profile, wanted, tools, service)
        arms = [peer.name for peer in chosen([OURS + name for name in _names(policies)], "--policies")]
        arms += [peer.name for peer in chosen(_names(peers), "--peers")]
        missing = absent(arms, tools)
        plan = Plan(
            tuple(arm for arm in dict.fromkeys(arms) if arm not in missing),
            tuple(_names(workloads)),
            tuple(_number(name) for name in names),
            repeats,
            seed,
            {
                "fleet": fleet, "replicas": replicas, "profile": profile, "scale": scale, "knee": knee,
                "duration_s": duration, "warm_up_s": warm_up, "goodput": goodput, "lanes": lanes,
            },
        )  # fmt: skip
        for name, why in missing.items():
            screen.print(f"{name} is left out: {why}", markup=False)
        with tempfile.TemporaryDirectory(prefix="bench-compare-") as folder:
            journal, whole = compared(
                plan,
                bench,
                lanes_on(all_cores(), lanes, Path(folder)),
                how=knee,
                level=Level(
                    LIMIT_S if service is None or service.ttft_ms is None else service.ttft_ms / 1000
                ),
                out=out.with_name(f"{out.name}.journal"),
                resume=resume,
                fingerprint=facts,
                tell=lambda text: screen.print(text, markup=False),
            )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except NotServingError as error:
        raise typer.BadParameter(f"--fleet: the replicas failed: {error}") from error
    except (InterruptedRunError, KeyboardInterrupt):
        raise typer.Exit(_INTERRUPTED) from None
    rows = predict(journal.rows, bench) if whole else journal.rows
    result = document(journal, rows)
    result["left_out"] = missing
    write_json(out, result)
    if whole:
        journal.path.unlink()
    else:
        screen.print(f"Broken off: --resume {journal.path} goes on with it", markup=False)
    tables, judged, trouble = shown(result)
    for table in [*tables, goals_table(judged, colour=True)]:
        table.print(screen)
    for line in trouble:
        screen.print(f"left out: {line}", markup=False)
    screen.print(one_line(facts), markup=False)
    if html is not None:
        write_text(html, page(TITLE, sections([(out.name, result)])))
    if not whole:
        raise typer.Exit(_INTERRUPTED)
    if check and any(verdict.status is not Status.MET for verdict in judged):
        raise typer.Exit(1)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--loads: expected numbers by commas, got {text!r}") from None
