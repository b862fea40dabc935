"""Tables and result files. A table is data; it is printed with rich, or written as Markdown between two markers.

A result file holds what was measured, on what, and the verdicts, so that every printed table can be made from it.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.goals import Status, Verdict

_COLOURS = {Status.MET: "green", Status.MISSED: "red", Status.NOT_MEASURED: "yellow"}


@dataclass(frozen=True, slots=True)
class Table:
    """The first column is text, the others are figures; None is a figure that nobody measured."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | None]]

    def markdown(self) -> str:
        head = "| " + " | ".join(self.columns) + " |"
        rule = "|---" + "|---:" * (len(self.columns) - 1) + "|"
        lines = ["| " + " | ".join(cell or "-" for cell in row) + " |" for row in self.rows]
        return "\n".join([f"**{self.title}**", "", head, rule, *lines])

    def print(self, console: Console) -> None:
        table = RichTable(title=self.title, title_justify="left")
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="right" if index else "left", no_wrap=not index)
        for row in self.rows:
            table.add_row(*(cell or "-" for cell in row))
        console.print(table)


def console(width: int = 120) -> Console:
    """As wide as the terminal; wide enough for the tables where there is none."""
    found = Console()
    return found if found.is_terminal else Console(width=width)


def number(value: float | None, digits: int = 0) -> str | None:
    return None if value is None else f"{value:,.{digits}f}"


def goals_table(verdicts: Sequence[Verdict], *, colour: bool = False) -> Table:
    rows = []
    for verdict in verdicts:
        unit = verdict.goal.unit or ("x" if verdict.goal.reference else "")
        status = status_cell(verdict.status, verdict.why, colour=colour)
        measured = None if verdict.value is None else f"{verdict.value:,.2f} {unit}".strip()
        rows.append((verdict.goal.title, measured, f"<= {verdict.goal.at_most:g} {unit}".strip(), status))
    return Table("Goals", ("goal", "measured", "asked", "verdict"), rows)


def status_cell(status: Status, why: str = "", *, colour: bool = False) -> str:
    cell = f"{status}: {why}" if why else str(status)
    return f"[{_COLOURS[status]}]{cell}[/]" if colour else cell


def write_text(path: Path, text: str) -> None:
    """All or nothing: a reader never sees half a file, and a failed write leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o644)
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, result: dict[str, Any]) -> None:
    write_text(path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def read_result(path: Path) -> dict[str, Any]:
    """A result of any benchmark."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a result file: {error}") from error
    if not isinstance(result, dict) or "benchmark" not in result:
        raise ValueError(f"{path}: expected a result file, with the name of its `benchmark`")
    return result


def read_json(path: Path, benchmark: str) -> dict[str, Any]:
    try:
        result = read_result(path)
    except ValueError as error:
        raise ValueError(f"{path}: expected a result of `{benchmark}`: {error}") from error
    if result["benchmark"] != benchmark:
        raise ValueError(f"{path}: expected a result of `{benchmark}`, got one of `{result['benchmark']}`")
    return result


def between_markers(text: str, name: str, inner: str) -> str:
    """`text` with what stands between `<!-- name:begin -->` and `<!-- name:end -->` replaced."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    head, found_begin, rest = text.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"expected the markers {begin} and {end}")
    return f"{head}{begin}\n{inner}\n{end}{tail}"


def rewrite_between_markers(path: Path, name: str, inner: str) -> None:
    """The same of a file."""
    write_text(path, between_markers(path.read_text(encoding="utf-8"), name, inner))
