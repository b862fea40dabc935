"""A comparison from its plan to its result: knees, cells, predictions, verdicts."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from benchmarks.compare.journal import NAME, Journal, Row
from benchmarks.compare.judge import Measured, losses, losses_table, verdicts
from benchmarks.compare.kit import Kit, Lane
from benchmarks.compare.knee import Knee, Level
from benchmarks.compare.lanes import run_lanes
from benchmarks.compare.plan import Cell, Plan, dealt, estimate_s, remaining
from benchmarks.compare.prediction import predicted
from benchmarks.compare.run import find_knee
from benchmarks.compare.samples import Place, gathered
from benchmarks.compare.tables import tables
from benchmarks.goals import Verdict
from benchmarks.report import Table

Document = dict[str, Any]
Tell = Callable[[str], None]
CATALOGUE, MEASURED = "catalogue", "measure"


def knees(plan: Plan, how: str, level: Level, kit: Kit, lane: Lane, tell: Tell) -> dict[str, Knee | float]:
    """Of each workload, the rate that is load 1.0: told, of the catalogue, or measured with the first arm."""
    found: dict[str, Knee | float] = {}
    for workload in plan.workloads:
        if how not in {CATALOGUE, MEASURED}:
            found[workload] = _rate(how)
            continue
        guess = kit.catalogue_knee(workload)
        if how == CATALOGUE:
            found[workload] = guess
            continue
        tell(f"{workload}: looking for the knee, from {guess:.3g} arrivals a second")
        knee = asyncio.run(find_knee(workload, plan.arms[0], guess, level, kit, lane))
        tell(
            f"{workload}: knee at {knee.rate:.3g} a second [{knee.low:.3g}, {knee.high:.3g}], {len(knee.points)} runs"
        )
        found[workload] = knee
    return found


def head(plan: Plan, found: Mapping[str, Knee | float], fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """What a journal begins with."""
    rates = {name: knee.rate if isinstance(knee, Knee) else knee for name, knee in found.items()}
    searches = {name: asdict(knee) for name, knee in found.items() if isinstance(knee, Knee)}
    return {
        "digest": plan.digest(),
        "fingerprint": dict(fingerprint),
        "plan": asdict(plan),
        "knees": rates,
        "knee_searches": searches,
    }


def compared(
    plan: Plan,
    kit: Kit,
    lanes: Sequence[Lane],
    *,
    how: str,
    level: Level,
    out: Path,
    resume: Path | None,
    fingerprint: Mapping[str, Any],
    tell: Tell,
) -> tuple[Journal, bool]:
    """The journal, and whether all was measured: False where somebody interrupted. Every cell is in it as soon as it is done.

    Raises: ValueError, where options do not fit; NotServingError, where the replicas fail.
    """
    if resume is None:
        journal = Journal.begun(out, head(plan, knees(plan, how, level, kit, lanes[0], tell), fingerprint))
    else:
        journal = Journal.resumed(resume, plan.digest(), fingerprint)
    cells = dealt(remaining(plan.blocks(journal.head["knees"]), journal.done), len(lanes))
    count, minutes = sum(map(len, cells)), estimate_s(cells, kit.script_s) / 60
    tell(f"{count} runs, {len(journal.done)} more are there already; about {minutes:,.0f} minutes")

    def write(row: Row) -> None:
        journal.write(row)
        tell(f"{_name(row)}: {_outcome(row)}")

    return journal, run_lanes(cells, kit, lanes, write)


def predict(rows: Sequence[Row], kit: Kit, jobs: int | None = None) -> list[Row]:
    """The rows, each with the simulator's figures where it can tell them."""
    questions = [None if row["trouble"] is not None else kit.question(_cell(row)) for row in rows]
    asked = [question for question in questions if question is not None]
    answers = predicted(asked, jobs or len(os.sched_getaffinity(0)))
    return [
        row if question is None else {**row, "prediction": answers[question]}
        for row, question in zip(rows, questions, strict=True)
    ]


def document(journal: Journal, rows: Sequence[Row]) -> Document:
    kept = {name: value for name, value in journal.head.items() if name != "benchmark"}
    return {"benchmark": NAME, **kept, "runs": list(rows)}


def measured_of(found: Document) -> Measured:
    """What counts, in the order of the plan."""
    plan, known = found["plan"], gathered(found["runs"])
    return {
        place: {arm: known[place][arm] for arm in plan["arms"] if arm in known[place]}
        for place in _places(plan)
        if place in known
    }


def shown(found: Document) -> tuple[list[Table], list[Verdict], list[str]]:
    """Tables and verdicts, and each run that counts in none and why."""
    plan = found["plan"]
    subject = plan["arms"][0]
    places = _places(plan)
    measured = measured_of(found)
    judged = verdicts(measured, subject, places, plan["arms"])
    lost = losses(measured, subject)
    made = [
        *tables(measured, subject),
        *([losses_table(lost)] if lost else []),
    ]
    return made, judged, [f"{_name(row)}: {why}"
                          for row in found["runs"] if (why := row["trouble"] or row.get("invalid"))]  # fmt: skip


def _places(plan: Mapping[str, Any]) -> list[Place]:
    return [(workload, load) for workload in plan["workloads"] for load in plan["loads"]]


def _cell(row: Row) -> Cell:
    return Cell(**{name.name: row[name.name] for name in fields(Cell)})


def _name(row: Row) -> str:
    return f"{row['arm']}, {row['workload']} at {row['load']:g}, repeat {row['repeat']}"


def _outcome(row: Row) -> str:
    if row["trouble"] is not None:
        return f"left out: {row['trouble']}"
    p90_ms = row.get("p90_ttft_ms")
    told = "nothing answered" if p90_ms is None else f"TTFT P90 {p90_ms:,.0f} ms"
    return told if row["valid"] else f"{told}, invalid: {row.get('invalid')}"


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise ValueError(f"--knee: expected {CATALOGUE}, {MEASURED} or arrivals a second, got {text!r}")
    return rate
