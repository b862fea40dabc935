"""The command `report`: result files in, tables and a page out. No measuring lives here."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.pages.html import page
from benchmarks.pages.sections import sections
from benchmarks.report import console, read_result, write_text

TITLE = "Benchmarks of vllm-balancer"


def report(
    files: Annotated[
        list[Path], typer.Argument(help="Results of any benchmark, as their --json or --out wrote.")
    ],
    *,
    html: Annotated[Path | None, typer.Option(help="Write one page that needs no network.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as Markdown.")] = None,
) -> None:
    """Results of any benchmarks, together: tables, goals, and plots on one HTML page."""
    screen = console(170)
    try:
        made = sections([(file.name, read_result(file)) for file in files])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if html is not None:
        write_text(html, page(TITLE, made))
    if markdown is not None:
        write_text(markdown, "\n\n".join([f"# {TITLE}", *(section.markdown() for section in made)]) + "\n")
    for section in made:
        screen.rule(section.title, align="left")
        for note in section.notes:
            screen.print(note, markup=False)
        for table in section.tables:
            table.print(screen)
        screen.print(section.facts, markup=False)
