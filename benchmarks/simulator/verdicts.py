"""Tables of goals: each line beside its verdict, the cells that lose, and who is the best other in every cell. Pure."""

from collections.abc import Sequence

from benchmarks.report import Table, number, status_cell
from benchmarks.simulator.comparison import Averages, Best, ratio
from benchmarks.simulator.goals import E2E, SUBJECT, TOKENS, TTFT, Line


def goals_table(lines: Sequence[Line], *, colour: bool = False) -> Table:
    rows = []
    for line in lines:
        asked = f"{'>=' if line.at_least else '<='} {line.limit:g} {line.unit}"
        verdict = status_cell(line.status, ", ".join(line.gaps), colour=colour)
        rows.append((line.title, _measured(line.value, line), asked, verdict))
    return Table(f"Goals of {SUBJECT}", ("goal", "measured", "asked", "verdict"), rows)


def losing_table(lines: Sequence[Line]) -> Table:
    """A cell that loses by the same figure in several lines is shown in the first."""
    rows = {
        (cell.name, cell.value, cell.rival): (
            line.title,
            cell.name,
            _measured(cell.value, line, 3),
            cell.rival,
        )
        for line in reversed(lines)
        for cell in reversed(line.losing)
    }
    return Table("Losing cells", ("goal", "cell", "measured", "against"), list(reversed(rows.values())))


def _measured(value: float | None, line: Line, digits: int = 2) -> str | None:
    return None if value is None else f"{number(value, digits)} {line.unit}"


def best_others_table(averages: Averages) -> Table:
    """Every cell: the subject, the best other policy, and the bound."""
    figures: tuple[tuple[str, str, Best, int], ...] = (
        ("TTFT P90 s", TTFT, min, 2),
        ("E2E P90 s", E2E, min, 1),
        ("tok/s", TOKENS, max, 0),
    )
    rows = []
    for place in averages.places():
        for title, figure, best, digits in figures:
            ours = averages.figure(place, SUBJECT, figure)
            theirs, other = averages.best_other(place, SUBJECT, figure, best) or (None, None)
            bound = averages.over_oracle(place, SUBJECT, figure) if figure == TTFT else None
            rows.append(
                (
                    f"{place[0]} {place[1]:g}" if figure == TTFT else " ",
                    title,
                    number(ours, digits),
                    number(theirs, digits),
                    number(ratio(ours, theirs), 2),
                    other,
                    number(bound, 2),
                )
            )
    columns = ("cell", "figure", SUBJECT, "best other", "ratio", "which", "to oracle2")
    return Table(f"{SUBJECT} beside the best other policy of each cell", columns, rows)
