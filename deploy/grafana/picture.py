"""A board as one picture, of what Prometheus answered: for documents, and to see at a glance what a test saw. Pure."""

import math
import re
from collections.abc import Mapping, Sequence

from benchmarks.drawing import LINE_HEIGHT, PAPER, Axis, Frame, Line, legend, placed, style, svg
from deploy.grafana.boards import Board, Panel

Series = tuple[Mapping[str, str], Sequence[tuple[float, float]]]
"""Labels, and times with values."""

_COLUMNS = 3
_WIDTH, _HEIGHT, _GAP = 340, 200, 12
_MOST = 6
"""Lines of a panel; the legend names no more."""

_NAMED = re.compile(r"\{\{(\w+)\}\}")
_SCALES = {
    "s": (1000.0, "ms"),
    "percentunit": (100.0, "%"),
    "bytes": (2.0**-20, "MiB"),
    "reqps": (1.0, "1/s"),
    "ops": (1.0, "1/s"),
}


def picture(board: Board, answers: Mapping[str, Sequence[Sequence[Series]]], began_s: float) -> str:
    """`answers` by the panel's title, one for each of its queries. Time runs in seconds from `began_s`. Heat maps, and lines that
    are 0 throughout beside others, are left out.
    """
    parts: list[str] = [
        f'<text x="0" y="18" font-size="15" font-weight="600" fill="{PAPER.text}">{board.title}</text>'
    ]
    y = 34
    for row in board.rows:
        parts.append(f'<text x="0" y="{y + 10}" font-weight="600" fill="{PAPER.faint}">{row.title}</text>')
        y += 20
        panels = [panel for panel in row.panels if panel.kind != "heatmap"]
        for start in range(0, len(panels), _COLUMNS):
            heights = []
            for column, panel in enumerate(panels[start : start + _COLUMNS]):
                drawn, height = _panel(panel, answers[panel.title], began_s)
                parts += placed(column * (_WIDTH + _GAP), y, drawn)
                heights.append(height)
            y += max(heights) + _GAP
    return svg(parts, _COLUMNS * (_WIDTH + _GAP), y, board.title, PAPER.back)


def _panel(panel: Panel, answers: Sequence[Sequence[Series]], began_s: float) -> tuple[list[str], int]:
    scale, unit = _SCALES.get(panel.unit, (1.0, panel.unit.removeprefix("suffix:").strip()))
    found = [
        (
            _legend(name, labels),
            [(at - began_s, value * scale) for at, value in points if math.isfinite(value)],
        )
        for (name, _), series in zip(panel.queries, answers, strict=True)
        for labels, points in series
    ]
    found = sorted((each for each in found if each[1]), key=lambda each: -max(value for _, value in each[1]))
    found = [each for each in found if any(value for _, value in each[1])] or found[:1]
    times = [at for _, points in found for at, _ in points]
    values = [value for _, points in found for _, value in points]
    note = "" if unit == "short" else unit
    frame = Frame(Axis.over(times), Axis.over(values, zero=True), PAPER, _WIDTH, _HEIGHT)
    lines = [Line(name, points, _thin(number)) for number, (name, points) in enumerate(found[:_MOST])]
    parts = [*frame.axes(panel.title, note, "s"), *(part for line in lines for part in frame.line(line))]
    named = [(line.name, line.style) for line in lines if line.name]
    keys, below = legend(named, PAPER, 44, _HEIGHT + 6, _WIDTH) if named else ([], _HEIGHT)
    return [*parts, *keys], below + LINE_HEIGHT // 2


def _thin(number: int):
    drawn = style(PAPER, number, 1.3)
    return type(drawn)(drawn.colour, drawn.width, drawn.dashes, "")


def _legend(name: str, labels: Mapping[str, str]) -> str:
    return _NAMED.sub(lambda found: labels.get(found[1], ""), name).strip(" ,")
