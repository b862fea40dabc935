"""The P90 of TTFT over load as SVG: a panel for each workload, a line for each arm. Pure, and plain text out.

The judged policy is drawn last and thick, oracles dashed and as far as they are a bound; of the others the NAMED best by
geometric mean have colours.
"""

from collections.abc import Iterator, Sequence
from math import ceil, floor, log10
from xml.sax.saxutils import escape

from benchmarks.simulator.arms import ARMS
from benchmarks.simulator.comparison import Averages, Place, geometric_mean
from benchmarks.simulator.goals import SUBJECT, TTFT
from benchmarks.simulator.oracle import BOUND_LOAD

NAMED = 6
COLUMNS = 3
WIDTH, HEIGHT = 300, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 30, 34
LINE_HEIGHT = 15

_SUBJECT_COLOUR = "#c1121f"
_ORACLE_COLOUR = "#222222"
_GREY = "#c9ccd1"
_FONT = 'font-family="system-ui, sans-serif" font-size="11" fill="#333"'
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c564b")


def svg(averages: Averages) -> str:
    places = averages.places()
    if not places:
        raise ValueError("--plot: expected a result of workloads at loads")
    panels: dict[str, list[Place]] = {}
    for place in sorted(places, key=lambda place: place[1]):
        panels.setdefault(place[0], []).append(place)
    workloads = list(dict.fromkeys(place[0] for place in places))
    styles = _styles(averages, places)
    rows = ceil((len(panels) + 1) / COLUMNS)
    width, height = COLUMNS * WIDTH, rows * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {_FONT}>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, workload in enumerate(workloads):
        parts += _at(number, _panel(averages, workload, panels[workload], styles))
    parts += _at(len(panels), _legend(styles))
    return "\n".join([*parts, "</svg>"]) + "\n"


Style = tuple[str, float, str]
"""Colour, width, dashes."""


def _styles(averages: Averages, places: Sequence[Place]) -> dict[str, Style]:
    """In the order of drawing: the later lies on top."""

    def rank(arm: str) -> float:
        mean = geometric_mean(averages.figure(place, arm, TTFT) for place in places)
        return float("inf") if mean is None else mean

    others = [arm for arm in averages.arms if arm != SUBJECT and not ARMS[arm].pooled]
    others.sort(key=lambda arm: (ARMS[arm].ablation, rank(arm)))
    styles: dict[str, Style] = dict.fromkeys(reversed(others[NAMED:]), (_GREY, 1.0, ""))
    styles |= {arm: (colour, 1.5, "") for arm, colour in reversed(list(zip(others, _COLOURS, strict=False)))}
    styles |= {arm: (_ORACLE_COLOUR, 1.5, "4 3") for arm in averages.arms if ARMS[arm].pooled}
    if SUBJECT in averages.arms:
        styles[SUBJECT] = (_SUBJECT_COLOUR, 3.0, "")
    return styles


def _at(number: int, parts: Iterator[str]) -> list[str]:
    x, y = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT
    return [f'<g transform="translate({x} {y})">', *parts, "</g>"]


def _panel(
    averages: Averages, workload: str, places: Sequence[Place], styles: dict[str, Style]
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
    values = [value for points in lines.values() for _, value in points] or [1.0]
    low, high = log10(min(values)), log10(max(values))
    low, high = low - 0.05, max(high, low + 0.5) + 0.05
    loads = [place[1] for place in places]
    first, span = loads[0], (loads[-1] - loads[0]) or 1.0

    def x(load: float) -> float:
        inner = WIDTH - LEFT - RIGHT
        return LEFT + inner * ((load - first) / span if len(loads) > 1 else 0.5)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - log10(value)) / (high - low)

    yield f'<text x="{LEFT}" y="18" font-weight="600">{escape(workload)}</text>'
    yield f'<text x="{WIDTH - RIGHT}" y="18" text-anchor="end" fill="#777">TTFT P90 s over load</text>'
    for tick in _ticks(low, high):
        at = y(tick)
        yield f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#eee"/>'
        yield f'<text x="{LEFT - 5}" y="{at + 4:.1f}" text-anchor="end" fill="#777">{tick:g}</text>'
    for load in loads:
        yield f'<text x="{x(load):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle" fill="#777">{load:g}</text>'
    for arm, points in lines.items():
        colour, width, dashes = styles[arm]
        yield f'<g stroke="{colour}" fill="none" stroke-width="{width}" stroke-linejoin="round"><title>{escape(arm)}</title>'
        drawn = " ".join(f"{x(load):.1f},{y(value):.1f}" for load, value in points)
        yield f'<polyline points="{drawn}"' + (f' stroke-dasharray="{dashes}"' if dashes else "") + "/>"
        for load, value in points:
            yield f'<circle cx="{x(load):.1f}" cy="{y(value):.1f}" r="{0.5 + width / 2:g}" fill="{colour}"/>'
        yield "</g>"


def _ticks(low: float, high: float) -> list[float]:
    steps = (1, 2, 5) if high - low < 1.6 else (1,)
    found = [step * 10.0**power for power in range(floor(low), ceil(high) + 1) for step in steps]
    return [tick for tick in found if low <= log10(tick) <= high]


def _legend(styles: dict[str, Style]) -> Iterator[str]:
    y = 18
    grey = [arm for arm, style in styles.items() if style[0] == _GREY]
    for arm, (colour, width, dashes) in reversed(styles.items()):
        if arm in grey:
            continue
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        yield f'<path d="M{LEFT} {y}h26" stroke="{colour}" stroke-width="{width}"{dashed}/>'
        yield f'<text x="{LEFT + 34}" y="{y + 4}">{escape(arm)}</text>'
        y += LINE_HEIGHT
    for first in range(0, len(grey), 2):
        names = ", ".join(list(reversed(grey))[first : first + 2])
        if not first:
            yield f'<path d="M{LEFT} {y}h26" stroke="{_GREY}"/>'
        yield f'<text x="{LEFT + 34}" y="{y + 4}" fill="#777" font-size="10">{escape(names)}</text>'
        y += LINE_HEIGHT - 2
