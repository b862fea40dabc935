"""Measured beside modelled: rows, errors and tables. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.calibration.modelled import Costs, Setting, modelled
from benchmarks.calibration.points import Kind, Measured, Point, figures
from benchmarks.goals import Goal, Verdict, judge
from benchmarks.report import Table, number
from benchmarks.stats import percentile

GOALS = (Goal("error of a held-out figure, P50", "error_p50", at_most=20, unit="%"),)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one point, in seconds. `spread` is half the range of the rounds, as a share of the median."""

    point: str
    kind: Kind
    held_out: bool
    figure: str
    measured: float
    modelled: float
    spread: float

    @property
    def error(self) -> float:
        """Of the modelled side, as a share of what was measured; positive is too slow."""
        return self.modelled / self.measured - 1


@dataclass(frozen=True, slots=True)
class Counts:
    """What both sides counted at one point. None is a count that the replica did not tell."""

    point: str
    calls: int
    same_cached_tokens: int | None
    measured_preemptions: float | None
    modelled_preemptions: float | None


def compare(
    points: Sequence[Point], measured: Mapping[str, Measured], costs: Costs, setting: Setting
) -> tuple[list[Row], list[Counts]]:
    rows, counts = [], []
    for point in points:
        kept = measured.get(point.name)
        if kept is None:
            continue
        outcome = modelled(point, costs, setting)
        model = figures(point.kind, outcome.courses)
        for name, value in kept.figures.items():
            rounds = kept.rounds[name]
            spread = (max(rounds) - min(rounds)) / 2 / value
            rows.append(Row(point.name, point.kind, point.held_out, name, value, model[name], spread))
        pairs = zip(kept.cached_tokens, outcome.courses, strict=True)
        told = [(theirs, ours.cached_tokens) for theirs, ours in pairs if theirs is not None]
        counts.append(
            Counts(
                point.name,
                calls=len(point.calls),
                same_cached_tokens=sum(theirs == ours for theirs, ours in told) if told else None,
                measured_preemptions=kept.preemptions,
                modelled_preemptions=outcome.preemptions,
            )
        )
    return rows, counts


def error_figures(rows: Sequence[Row]) -> dict[str, float]:
    """In percent, without sign, over the held-out rows."""
    errors = [100 * abs(row.error) for row in rows if row.held_out]
    found = {f"error_p{q}": percentile(errors, q) for q in (50, 90, 100)}
    return {name: value for name, value in found.items() if value is not None}


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    return judge(GOALS, error_figures(rows))


def tables(rows: Sequence[Row], counts: Sequence[Counts], costs: Costs) -> list[Table]:
    return [
        _costs_table(costs),
        _rows_table("Held out", [row for row in rows if row.held_out]),
        _rows_table("Fitted on", [row for row in rows if not row.held_out]),
        _kinds_table(rows),
        _counts_table(counts),
    ]


def _costs_table(costs: Costs) -> Table:
    rows = [(name, f"{1e6 * cost:,.4g}") for name, cost in costs._asdict().items()]
    return Table("Fitted costs", ("cost", "µs"), rows)


def _rows_table(title: str, rows: Sequence[Row]) -> Table:
    cells = [
        (
            f"{row.kind}: {row.point}",
            row.figure,
            number(1e3 * row.measured, 1),
            f"± {row.spread:.0%}",
            number(1e3 * row.modelled, 1),
            f"{row.error:+.0%}",
        )
        for row in rows
    ]
    return Table(title, ("point", "figure", "vLLM ms", "rounds", "model ms", "error"), cells)


def _kinds_table(rows: Sequence[Row]) -> Table:
    groups: list[tuple[str, list[Row]]] = [("all", [row for row in rows if row.held_out])]
    groups += [(kind, [row for row in rows if row.held_out and row.kind is kind]) for kind in Kind]
    cells = []
    for name, group in groups:
        errors = error_figures(group)
        cells.append((name, str(len(group)), *(number(errors.get(f"error_p{q}"), 1) for q in (50, 90, 100))))
    return Table("Errors of held-out figures, %", ("points", "figures", "P50", "P90", "worst"), cells)


def _counts_table(counts: Sequence[Counts]) -> Table:
    told = [count for count in counts if count.same_cached_tokens is not None]
    same = sum(count.same_cached_tokens or 0 for count in told)
    cells = [("calls with the same cached tokens", f"{same} of {sum(count.calls for count in told)}")]
    cells += [
        (f"preemptions, {count.point}", f"{count.measured_preemptions:g} / {count.modelled_preemptions:g}")
        for count in counts
        if count.measured_preemptions is not None
    ]
    return Table("Counts, vLLM / model", ("what", "count"), cells)
