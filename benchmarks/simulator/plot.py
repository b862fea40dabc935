"""The P90 of TTFT over load as SVG: a panel for each workload, a line for each arm. Pure, and plain text out.

The judged policy is drawn last and thick, oracles dashed and as far as they are a bound; of the others the NAMED best by
geometric mean have colours, dashes and markers of their own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil
from xml.sax.saxutils import escape

from benchmarks.drawing import (
    LINE_HEIGHT,
    PAPER,
    SAMPLE,
    Axis,
    Frame,
    Ink,
    Line,
    Style,
    legend,
    placed,
    style,
)
from benchmarks.drawing import svg as picture
from benchmarks.simulator.arms import ARMS
from benchmarks.simulator.comparison import Averages, Place, geometric_mean
from benchmarks.simulator.goals import SUBJECT, TTFT
from benchmarks.simulator.oracle import BOUND_LOAD

NAMED = 6
COLUMNS = 3
WIDTH, HEIGHT = 300, 220
LEFT = 44

_SUBJECT_COLOUR = "#c1121f"


def svg(averages: Averages, ink: Ink = PAPER) -> str:
    places = averages.places()
    if not places:
        raise ValueError("--plot: expected a result of workloads at loads")
    panels: dict[str, list[Place]] = {}
    for place in sorted(places, key=lambda place: place[1]):
        panels.setdefault(place[0], []).append(place)
    workloads = list(dict.fromkeys(place[0] for place in places))
    styles = _styles(averages, places, ink)
    rows = ceil((len(panels) + 1) / COLUMNS)
    parts: list[str] = []
    for number, workload in enumerate(workloads):
        parts += _at(number, _panel(averages, workload, panels[workload], styles, ink))
    parts += _at(len(panels), _legend(styles, ink))
    return picture(parts, COLUMNS * WIDTH, rows * HEIGHT, "P90 of TTFT over load", back=ink.back)


def _styles(averages: Averages, places: Sequence[Place], ink: Ink) -> dict[str, Style]:
    """In the order of drawing: the later lies on top."""

    def rank(arm: str) -> float:
        mean = geometric_mean(averages.figure(place, arm, TTFT) for place in places)
        return float("inf") if mean is None else mean

    others = [arm for arm in averages.arms if arm != SUBJECT and not ARMS[arm].pooled]
    others.sort(key=lambda arm: (ARMS[arm].ablation, rank(arm)))
    styles = dict.fromkeys(reversed(others[NAMED:]), Style(ink.grey, 1.0))
    styles |= {arm: style(ink, number) for number, arm in reversed(list(enumerate(others[:NAMED])))}
    styles |= {arm: Style(ink.text, 1.5, "4 3") for arm in averages.arms if ARMS[arm].pooled}
    if SUBJECT in averages.arms:
        styles[SUBJECT] = Style(_SUBJECT_COLOUR, 3.0)
    return styles


def _at(number: int, parts: Iterator[str]) -> list[str]:
    return placed(number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT, parts)


def _panel(
    averages: Averages, workload: str, places: Sequence[Place], styles: dict[str, Style], ink: Ink
) -> Iterator[str]:
    lines = {
        arm: [
            (place[1], value)
            for place in places
            if (value := averages.figure(place, arm, TTFT))
            and not (ARMS[arm].pooled and place[1] > BOUND_LOAD)
        ]
        for arm in styles
    }
    loads = tuple(place[1] for place in places)
    x = (
        replace(Axis.over(loads), ticks=loads)
        if len(loads) > 1
        else Axis(loads[0] - 1, loads[0] + 1, ticks=loads)
    )
    y = Axis.over([value for points in lines.values() for _, value in points] or [1.0], log=True)
    frame = Frame(x, y, ink, WIDTH, HEIGHT, LEFT)
    yield from frame.axes(workload, "TTFT P90 s over load")
    for arm, points in lines.items():
        yield from frame.line(Line(arm, points, styles[arm]))


def _legend(styles: dict[str, Style], ink: Ink) -> Iterator[str]:
    grey = [arm for arm, drawn in styles.items() if drawn.colour == ink.grey]
    named = [(arm, drawn) for arm, drawn in reversed(styles.items()) if arm not in grey]
    parts, y = legend(named, ink, LEFT, 18)
    yield from parts
    if grey:
        yield f'<path d="M{LEFT} {y}h{SAMPLE}" stroke="{ink.grey}"/>'
    for first in range(0, len(grey), 2):
        names = ", ".join(list(reversed(grey))[first : first + 2])
        yield f'<text x="{LEFT + SAMPLE + 6}" y="{y + 4}" fill="{ink.faint}" font-size="10">{escape(names)}</text>'
        y += LINE_HEIGHT - 2
