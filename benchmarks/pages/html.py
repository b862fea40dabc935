"""Sections as one HTML page that needs nothing else: no network, no scripts. Pure but for its own style sheet."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from benchmarks.goals import Status
from benchmarks.pages.section import Section
from benchmarks.report import Table

_STYLE = Path(__file__).with_name("page.css")


def page(title: str, sections: Sequence[Section]) -> str:
    contents = [
        f'<li><a href="#s{number}">{escape(section.title)}</a></li>'
        for number, section in enumerate(sections)
    ]
    body = [part for number, section in enumerate(sections) for part in _section(number, section)]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>",
            f"<h1>{escape(title)}</h1>",
            *(["<nav><ul>", *contents, "</ul></nav>"] if len(sections) > 1 else []),
            *body,
            "</body>\n</html>\n",
        ]
    )


def _section(number: int, section: Section) -> list[str]:
    figures = [f"<figure>{picture}</figure>" for picture in section.pictures]
    return [
        f'<section id="s{number}">\n<h2>{escape(section.title)}</h2>',
        *(f'<p class="note">{escape(note)}</p>' for note in section.notes),
        *(['<div class="plots">', *figures, "</div>"] if figures else []),
        *(part for table in section.tables for part in _table(table)),
        *([f'<p class="facts">Measured on: {escape(section.facts)}.</p>'] if section.facts else []),
        "</section>",
    ]


def _table(table: Table) -> list[str]:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = ["<tr>" + "".join(map(_cell, row)) + "</tr>" for row in table.rows]
    return [
        *([f"<h3>{escape(table.title)}</h3>"] if table.title else []),
        f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>',
        *rows,
        "</tbody></table></div>",
    ]


def _cell(cell: str | None) -> str:
    missed = ' class="missed"' if cell and cell.startswith(Status.MISSED) else ""
    return f"<td{missed}>{escape(cell or '-')}</td>"
