"""Results of every benchmark as sections, each with the tables and goals that its own command prints. Pure."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

from benchmarks.calibration import comparison as calibration
from benchmarks.calibration.modelled import Costs
from benchmarks.calibration.points import Kind
from benchmarks.chaos import figures as chaos
from benchmarks.chaos import soak
from benchmarks.compare.comparison import measured_of, shown
from benchmarks.compare.tables import overviews, ttft_p90_ms
from benchmarks.crosscheck import figures as crosscheck
from benchmarks.crosscheck import ours
from benchmarks.decide import figures as decide
from benchmarks.drawing import PAGE
from benchmarks.fingerprint import one_line
from benchmarks.goals import Verdict
from benchmarks.joint import figures as joint
from benchmarks.journal import command as journal
from benchmarks.overhead import figures as overhead
from benchmarks.pages import plots
from benchmarks.pages.section import Section
from benchmarks.report import Table, goals_table, number
from benchmarks.reporting import tables as runs
from benchmarks.reporting.documents import RUN, refuse_to_compare
from benchmarks.scrape import command as scrape
from benchmarks.simulator import comparison as simulator
from benchmarks.simulator.goals import by_suite, judge
from benchmarks.simulator.plot import svg
from benchmarks.simulator.verdicts import best_others_table, losing_table
from benchmarks.simulator.verdicts import goals_table as simulator_goals
from benchmarks.tiers import figures as tiers

Document = dict[str, Any]
Named = tuple[str, Document]
"""A result, and the name of its file."""


def sections(results: Sequence[Named]) -> list[Section]:
    """In the order of the benchmarks; an unknown or a broken result is an error that names its file."""
    for name, document in results:
        if document["benchmark"] not in _SECTIONS:
            raise ValueError(
                f"{name}: expected a result of {', '.join(_SECTIONS)}; got one of {document['benchmark']!r}"
            )
    made = []
    for benchmark, make in _SECTIONS.items():
        kept = [result for result in results if result[1]["benchmark"] == benchmark]
        try:
            made += make(kept)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            names = ", ".join(name for name, _ in kept)
            raise ValueError(f"{names}: expected a whole result of `{benchmark}`: {error!r}") from error
    return made


# -- measured here


def _compare(results: Sequence[Named]) -> list[Section]:
    made = []
    for name, document in results:
        measured, arms = measured_of(document), document["plan"]["arms"]
        pictures = [
            plots.over_load(
                {
                    arm: [
                        (load, ttft_p90_ms(cell.get(arm)))
                        for (each, load), cell in measured.items()
                        if each == workload
                    ]
                    for arm in arms
                },
                title=workload,
                note="TTFT P90 in ms over load",
            )
            for workload in dict.fromkeys(workload for workload, _ in measured)
        ]
        for (workload, load), cell in measured.items():
            curves = {arm: next(iter(found.rows.values()))["ttft_curve_ms"] for arm, found in cell.items()}
            known = {arm: curve for arm, curve in curves.items() if curve}
            if known:
                pictures.append(plots.distribution(known, title=f"{workload} at {load:g}"))
        tables, judged, trouble = shown(document)
        tables = [*overviews(measured, arms), *tables, goals_table(judged)]
        notes = [f"left out: {line}" for line in trouble]
        made.append(_section("Comparison", name, document, tables, pictures, notes))
    return made


def _run(results: Sequence[Named]) -> list[Section]:
    made = [_beside(results)] if len(results) > 1 else []
    for name, document in results:
        windows = [(start_s, end_s) for start_s, end_s in document["windows"].values()]
        curve = document["ttft_curve_ms"]
        pictures = [
            *([plots.distribution({document["label"]: curve}, title="Time to first token")] if curve else []),
            *plots.course(document["timeline"], windows, title=document["label"]),
            *plots.by_replica(document["by_replica"]),
        ]
        made.append(_section("Run", name, document, runs.tables(document), pictures))
    return made


def _beside(results: Sequence[Named]) -> Section:
    """Runs beside one another, if they are of one load."""
    try:
        for (_, one), (_, other) in combinations(results, 2):
            refuse_to_compare(one, other)
    except ValueError as error:
        return Section("Runs", [], notes=[f"Not held against each other: {error}."])
    figures = ("p50_ttft_ms", "p90_ttft_ms", "p99_ttft_ms", "p90_tpot_ms", "p90_e2el_ms", "output_throughput")
    rows = [
        (name, *(number(document[figure], 1) for figure in figures), runs.percent(document["hit_rate"]))
        for name, document in results
    ]
    columns = ("run", "TTFT P50 ms", "P90", "P99", "TPOT P90", "E2E P90", "tok/s", "hit rate")
    curves = {name: document["ttft_curve_ms"] for name, document in results if document["ttft_curve_ms"]}
    pictures = [plots.distribution(curves, title="Time to first token")] if curves else []
    return Section("Runs of one load", [Table("Beside one another", columns, rows)], pictures)


# -- from the other commands


def _simulate(results: Sequence[Named]) -> list[Section]:
    if not results:
        return []
    measured = by_suite([document for _, document in results])
    lines = judge(measured)
    goals = [simulator_goals(lines)] if lines else []
    if any(line.losing for line in lines):
        goals.append(losing_table(lines))
    made = [Section("Simulation, goals", goals)] if goals else []
    for name, document in results:
        averages = simulator.Averages(document["rows"])
        tables = simulator.tables(document)
        if document["plan"]["suite"] == "policies":
            tables.insert(0, best_others_table(averages))
        pictures = [svg(averages, PAGE)] if averages.places() else []
        suite = document["plan"]["suite"]
        made.append(_section(f"Simulation, {suite}", name, document, tables, pictures))
    return made


def _overhead(results: Sequence[Named]) -> list[Section]:
    made = []
    for name, document in results:
        figures = document["figures"]
        pictures = [
            picture
            for body in document["plan"]["bodies"]
            for picture in plots.costs(
                [(arm, figures.get(f"cpu_us/{arm}/{body}")) for arm in document["arms"]],
                title=f"CPU for each request, {body}",
                unit="µs",
            )
        ]
        notes = [
            f"{arm} was left out: {facts['trouble']}"
            for arm, facts in document["arms"].items()
            if facts["trouble"]
        ]
        tables = _judged(overhead.tables(document), overhead.verdicts(document))
        made.append(_section("Overhead", name, document, tables, pictures, notes))
    return made


def _decide(results: Sequence[Named]) -> list[Section]:
    made = []
    for name, document in results:
        found = [
            (f"{replicas} replicas, {label}", document["figures"].get(f"{key}_us/{replicas}"))
            for replicas in decide.FLEETS
            for key, label in (("p50", "P50"), ("p99", "P99"))
        ]
        pictures = plots.costs(found, title="CPU for each decision", unit="µs")
        tables = _judged(decide.tables(document), decide.verdicts(document))
        made.append(_section("Decisions", name, document, tables, pictures))
    return made


def _chaos(results: Sequence[Named]) -> list[Section]:
    return [
        _section("Chaos", name, document, _judged(chaos.tables(document), chaos.verdicts(document)))
        for name, document in results
    ]


def _journal(results: Sequence[Named]) -> list[Section]:
    return [
        _section("Journal", name, document, _judged(journal.tables(document), journal.verdicts(document)))
        for name, document in results
    ]


def _scrape(results: Sequence[Named]) -> list[Section]:
    return [
        _section("Scrape", name, document, _judged(scrape.tables(document), scrape.verdicts(document)))
        for name, document in results
    ]


def _soak(results: Sequence[Named]) -> list[Section]:
    made = []
    for name, document in results:
        figures = document["figures"]
        tables = _judged([soak.table(figures)], soak.verdicts(figures))
        made.append(_section("Soak", name, document, tables))
    return made


def _calibrate(results: Sequence[Named]) -> list[Section]:
    made = []
    for name, document in results:
        rows = [calibration.Row(**row | {"kind": Kind(row["kind"])}) for row in document["rows"]]
        counts = [calibration.Counts(**count) for count in document["counts"]]
        tables = calibration.tables(rows, counts, Costs(**document["costs"]))
        made.append(_section("Calibration", name, document, _judged(tables, calibration.verdicts(rows))))
    return made


def _crosscheck(results: Sequence[Named]) -> list[Section]:
    return [
        _section("Cross-check", name, document, crosscheck.tables(document["rounds"], ours.NAME))
        for name, document in results
    ]


def _tiers(results: Sequence[Named]) -> list[Section]:
    return [
        _section("Complexity score", name, document, tiers.tables(document)) for name, document in results
    ]


def _joint(results: Sequence[Named]) -> list[Section]:
    return [
        _section("Tier and replica", name, document, joint.tables(document["rows"]))
        for name, document in results
    ]


_SECTIONS: dict[str, Callable[[Sequence[Named]], list[Section]]] = {
    "compare": _compare,
    RUN: _run,
    "simulate": _simulate,
    "tiers": _tiers,
    "joint": _joint,
    "overhead": _overhead,
    "decide": _decide,
    "scrape": _scrape,
    "journal": _journal,
    "chaos": _chaos,
    "soak": _soak,
    "calibrate": _calibrate,
    "crosscheck": _crosscheck,
}


def _judged(tables: list[Table], verdicts: Sequence[Verdict]) -> list[Table]:
    return [goals_table(verdicts), *tables]


def _section(
    title: str,
    name: str,
    document: Document,
    tables: list[Table],
    pictures: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Section:
    return Section(f"{title}: {name}", tables, list(pictures), list(notes), one_line(document["fingerprint"]))
