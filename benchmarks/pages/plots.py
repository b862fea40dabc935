"""The plots of measured runs: latency over load, its distribution, its course, and who did the work. Pure.

Colours are the page's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.drawing import PAGE, Axis, Frame, Line, Point, bars, legend, style, svg
from benchmarks.reporting.figures import CURVE, Window

WIDTH = 620
_LEFT = 56

Series = Mapping[str, Sequence[Point]]


def over_load(series: Series, *, title: str, note: str) -> str:
    """A figure over load, on a logarithmic axis: a line for each arm, which breaks where nothing was measured."""
    values = [y for points in series.values() for _, y in points if y]
    loads = tuple(sorted({x for points in series.values() for x, _ in points}))
    margin = (loads[-1] - loads[0]) * 0.03 or 0.5
    x = Axis(loads[0] - margin, loads[-1] + margin, ticks=loads)
    return _lines(
        {name: [(at, y or None) for at, y in points] for name, points in series.items()},
        Axis.over(values, log=True), x, title=title, note=note, x_title="load", markers=True,
    )  # fmt: skip


def distribution(curves: Mapping[str, Sequence[float]], *, title: str) -> str:
    """The share of requests whose TTFT was at most so long, from the curves that results keep."""
    series = {
        name: [(max(ms, 1e-3), float(percent)) for ms, percent in zip(curve, CURVE, strict=True)]
        for name, curve in curves.items()
    }
    x = Axis.over([at for points in series.values() for at, _ in points], log=True)
    y = Axis(0.0, 100.0, ticks=(0, 25, 50, 75, 90, 100))
    return _lines(series, y, x, title=title, note="% of answers", x_title="TTFT, ms", markers=False)


def course(timeline: Mapping[str, Any], windows: Sequence[Window], *, title: str) -> list[str]:
    """Three plots over the same seconds: latency, requests, hit rate. What was not measured is shaded."""
    if "arrivals" not in timeline:
        return []
    step_s, steps = timeline["step_s"], len(timeline["arrivals"])
    x = Axis(0.0, max(step_s * steps, *(end_s for _, end_s in windows)))
    shaded, last = [], 0.0
    for start_s, end_s in sorted(windows):
        shaded.append((last, start_s))
        last = end_s
    shaded.append((last, x.high))

    def plot(names: Mapping[str, str], note: str, *, log: bool = False, top: float | None = None) -> str:
        series: dict[str, list[Point]] = {
            name: [(step_s * (number + 0.5), value) for number, value in enumerate(timeline[key])]
            for key, name in names.items()
        }
        values = [y for points in series.values() for _, y in points if y is not None]
        y = Axis(0.0, top) if top else Axis.over(values, log=log, zero=not log)
        return _lines(
            series, y, x, title=title, note=note, x_title="seconds", markers=False, shaded=shaded, height=190
        )

    plots = [
        plot({"p90_ttft_ms": "TTFT P90"}, "TTFT P90 by second of arrival, ms", log=True),
        plot({"under_way": "under way", "arrivals": "arrivals", "failures": "failures"}, "requests"),
    ]
    if any(value is not None for value in timeline["hit_rate"]):
        plots.append(plot({"hit_rate": "hit rate"}, "hit rate by second of arrival", top=1.0))
    return plots


def by_replica(groups: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Who got how many requests and how many tokens, and what was cached there."""
    if len(groups) < 2:
        return []
    requests = [(name, float(group["num_prompts"])) for name, group in groups.items()]
    made = [bars(requests, PAGE, title="Requests by replica")]
    tokens = [(name, float(group["total_input_tokens"])) for name, group in groups.items()]
    if any(value for _, value in tokens):
        made.append(bars(tokens, PAGE, title="Prompt tokens by replica"))
    return made


def costs(rows: Sequence[tuple[str, float | None]], *, title: str, unit: str) -> list[str]:
    known = [(name, value) for name, value in rows if value is not None]
    return [bars(known, PAGE, title=title, unit=unit)] if known else []


def _lines(
    series: Series,
    y: Axis,
    x: Axis,
    *,
    title: str,
    note: str,
    x_title: str,
    markers: bool,
    shaded: Sequence[Window] = (),
    height: int = 300,
) -> str:
    """The first series is drawn last and thick: it is the one that the others are held against."""
    styles = {name: style(PAGE, number, 1.7 if number else 2.5) for number, name in enumerate(series)}
    if not markers:
        styles = {name: replace(drawn, marker="") for name, drawn in styles.items()}
    frame = Frame(x, y, PAGE, WIDTH, height, _LEFT, bottom=46, shaded=shaded)
    parts = list(frame.axes(title, note, x_title))
    for name, points in reversed(series.items()):
        parts += frame.line(Line(name, points, styles[name]))
    if len(series) > 1:
        below, height = legend(list(styles.items()), PAGE, _LEFT, height + 8, WIDTH)
        parts += below
    return svg(parts, WIDTH, height, f"{title}: {note}")
