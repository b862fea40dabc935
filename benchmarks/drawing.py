"""Plots as plain SVG: axes, lines and bars, told apart by dashes and markers as well as by colour. Pure.

Colours are whatever SVG takes: `PAPER`'s stand for themselves, `PAGE`'s are variables of the page that holds the plot, which
may be light or dark.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10
from xml.sax.saxutils import escape, quoteattr

FONT = 'font-family="system-ui, sans-serif" font-size="11"'
LINE_HEIGHT = 15
SAMPLE = 30
"""Length of a line's sample in a legend."""

Point = tuple[float, float | None]
"""A line breaks where y is None."""


@dataclass(frozen=True, slots=True)
class Ink:
    text: str
    faint: str
    grid: str
    back: str
    grey: str
    series: tuple[str, ...]


PAPER = Ink(
    "#333333", "#6b6b6b", "#eeeeee", "#ffffff", "#c9ccd1",
    ("#0072b2", "#b86e00", "#007a58", "#b0478a", "#2a8fc7", "#7a4a3f"),
)  # fmt: skip
PAGE = Ink(
    "var(--text)", "var(--faint)", "var(--grid)", "var(--back)", "var(--grey)",
    tuple(f"var(--series-{number})" for number in range(1, 7)),
)  # fmt: skip

_DASHES = ("", "7 3", "3 2", "10 3 2 3", "", "4 4")
_MARKERS = ("circle", "square", "triangle", "diamond", "cross", "plus")


@dataclass(frozen=True, slots=True)
class Style:
    colour: str
    width: float = 1.5
    dashes: str = ""
    marker: str = "circle"
    """"": none, as for lines of very many points."""


def style(ink: Ink, number: int, width: float = 1.7) -> Style:
    """Of the series with this number, counted from 0: no two of 30 are alike without their colours."""
    colour, marker = ink.series[number % len(ink.series)], _MARKERS[number % len(_MARKERS)]
    dashes = _DASHES[(number + number // len(_DASHES)) % len(_DASHES)]
    return Style(colour, width, dashes, marker)


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    points: Sequence[Point]
    style: Style


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, whose logarithms are drawn where `log`. Without `ticks` it finds round ones."""

    low: float
    high: float
    log: bool = False
    ticks: tuple[float, ...] = ()

    @classmethod
    def over(cls, values: Sequence[float], *, log: bool = False, zero: bool = False) -> "Axis":
        """Room for all values; `zero` keeps 0 in view. A logarithmic axis spans at least half a decade."""
        if log:
            found = [log10(value) for value in values if value > 0] or [0.0]
            low = min(found) - 0.05
            return cls(10**low, 10 ** (max(*found, min(found) + 0.45) + 0.05), log=True)
        low, high = min(values, default=0.0), max(values, default=1.0)
        low = min(low, 0.0) if zero else low
        return cls(low, high if high > low else low + 1.0)

    def share(self, value: float) -> float:
        """How far along it the value stands, from 0 to 1."""
        if self.log:
            return (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return (value - self.low) / (self.high - self.low)

    def marks(self) -> list[float]:
        return list(self.ticks) or (
            _decades(self.low, self.high) if self.log else _round(self.low, self.high)
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """A plot's size, and the room around its area for ticks and titles."""

    x: Axis
    y: Axis
    ink: Ink
    width: int = 300
    height: int = 220
    left: int = 44
    right: int = 14
    top: int = 30
    bottom: int = 34
    shaded: Sequence[tuple[float, float]] = field(default=())

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = self.left + self.x.share(x) * (self.width - self.left - self.right)
        return across, self.height - self.bottom - self.y.share(y) * (self.height - self.top - self.bottom)

    def axes(self, title: str, note: str = "", x_title: str = "") -> Iterator[str]:
        """Titles, the grid of y and the ticks of both; `shaded` stretches of x lie behind."""
        ink, right, floor_y = self.ink, self.width - self.right, self.height - self.bottom
        for start, end in self.shaded:
            (x1, _), (x2, _) = self.at(start, self.y.low), self.at(end, self.y.low)
            yield (
                f'<rect x="{x1:.1f}" y="{self.top}" width="{max(0.0, x2 - x1):.1f}" height="{floor_y - self.top}" '
                f'fill="{ink.grid}"/>'
            )
        yield f'<text x="{self.left}" y="18" font-weight="600" fill="{ink.text}">{escape(title)}</text>'
        if note:
            yield f'<text x="{right}" y="18" text-anchor="end" fill="{ink.faint}">{escape(note)}</text>'
        for tick in self.y.marks():
            y = self.at(self.x.low, tick)[1]
            yield f'<path d="M{self.left} {y:.1f}H{right}" stroke="{ink.grid}"/>'
            yield f'<text x="{self.left - 5}" y="{y + 4:.1f}" text-anchor="end" fill="{ink.faint}">{_told(tick)}</text>'
        for tick in self.x.marks():
            x = self.at(tick, self.y.low)[0]
            yield (
                f'<text x="{x:.1f}" y="{floor_y + 15}" text-anchor="middle" fill="{ink.faint}">{_told(tick)}</text>'
            )
        if x_title:
            middle = (self.left + right) / 2
            yield f'<text x="{middle:.0f}" y="{self.height - 4}" text-anchor="middle" fill="{ink.faint}">{escape(x_title)}</text>'

    def line(self, line: Line) -> Iterator[str]:
        drawn = line.style
        yield (
            f'<g stroke="{drawn.colour}" fill="none" stroke-width="{drawn.width:g}" stroke-linejoin="round">'
            f"<title>{escape(line.name)}</title>"
        )
        dashes = f' stroke-dasharray="{drawn.dashes}"' if drawn.dashes else ""
        for piece in _pieces(line.points) or [[]]:
            at = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in piece))
            yield f'<polyline points="{at}"{dashes}/>'
            for x, y in piece if drawn.marker else ():
                yield _marker(*self.at(x, y), drawn, f"{line.name}: {y:.4g} at {_told(x)}")
        yield "</g>"


def legend(
    lines: Sequence[tuple[str, Style]], ink: Ink, x: int, y: int, width: int = 0
) -> tuple[list[str], int]:
    """Samples with their names, one below the other, or in rows where a width is given; and the y below them."""
    left, parts = x, []
    for name, drawn in lines:
        dashes = f' stroke-dasharray="{drawn.dashes}"' if drawn.dashes else ""
        needed = SAMPLE + 20 + 7 * len(name)
        if left > x and left + needed > width:
            left, y = x, y + LINE_HEIGHT
        sample = f'<path d="M{left} {y}h{SAMPLE}"{dashes}/>{_marker(left + SAMPLE / 2, y, drawn)}'
        parts += [
            f'<g stroke="{drawn.colour}" fill="none" stroke-width="{drawn.width:g}">{sample}</g>',
            f'<text x="{left + SAMPLE + 6}" y="{y + 4}" fill="{ink.text}">{escape(name)}</text>',
        ]
        left += needed
    return parts, y + LINE_HEIGHT


def bars(rows: Sequence[tuple[str, float]], ink: Ink, *, title: str, unit: str = "", width: int = 620) -> str:
    """A horizontal bar for each row, with its figure at the end."""
    left = 12 + 7 * max((len(name) for name, _ in rows), default=0)
    most = max((value for _, value in rows), default=0.0) or 1.0
    parts = [f'<text x="0" y="18" font-weight="600" fill="{ink.text}">{escape(title)}</text>']
    for number, (name, value) in enumerate(rows):
        y = 32 + 20 * number
        length = value / most * (width - left - 90)
        parts += [
            f'<text x="{left - 8}" y="{y + 11}" text-anchor="end" fill="{ink.text}">{escape(name)}</text>',
            f'<rect x="{left}" y="{y}" width="{length:.1f}" height="14" fill="{ink.series[0]}"/>',
            f'<text x="{left + length + 6:.1f}" y="{y + 11}" fill="{ink.faint}">{_told(value)} {escape(unit)}</text>',
        ]
    return svg(parts, width, 36 + 20 * len(rows), title)


def svg(parts: Sequence[str], width: int, height: int, title: str = "", back: str = "") -> str:
    """A whole picture; `title` is what it is called for those who can't see it."""
    told = f' role="img" aria-label={quoteattr(title)}' if title else ""
    box = f'viewBox="0 0 {width} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {box} {FONT}{told}>'
    ground = [f'<rect width="{width}" height="{height}" fill="{back}"/>'] if back else []
    return "\n".join([head, *ground, *parts, "</svg>"]) + "\n"


def placed(x: float, y: float, parts: Sequence[str] | Iterator[str]) -> list[str]:
    return [f'<g transform="translate({x:g} {y:g})">', *parts, "</g>"]


def _marker(x: float, y: float, drawn: Style, told: str = "") -> str:
    if not drawn.marker:
        return ""
    r = 0.8 + 0.8 * drawn.width
    shapes = {
        "square": f"M{x - r:.1f} {y - r:.1f}h{2 * r:g}v{2 * r:g}h{-2 * r:g}z",
        "triangle": f"M{x:.1f} {y - 1.3 * r:.1f}l{1.2 * r:g} {2.2 * r:g}h{-2.4 * r:g}z",
        "diamond": f"M{x:.1f} {y - 1.4 * r:.1f}l{1.4 * r:g} {1.4 * r:g}l{-1.4 * r:g} {1.4 * r:g}l{-1.4 * r:g} {-1.4 * r:g}z",
        "cross": f"M{x - r:.1f} {y - r:.1f}l{2 * r:g} {2 * r:g}m0 {-2 * r:g}l{-2 * r:g} {2 * r:g}",
        "plus": f"M{x:.1f} {y - 1.3 * r:.1f}v{2.6 * r:g}m{-1.3 * r:g} {-1.3 * r:g}h{2.6 * r:g}",
    }
    title = f"<title>{escape(told)}</title>" if told else ""
    if drawn.marker == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:g}" fill="{drawn.colour}">{title}</circle>'
    filled = "none" if drawn.marker in ("cross", "plus") else drawn.colour
    return f'<path d="{shapes[drawn.marker]}" fill="{filled}">{title}</path>'


def _pieces(points: Sequence[Point]) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            pieces.append([])
        else:
            pieces[-1].append((x, y))
    return [piece for piece in pieces if piece]


def _decades(low: float, high: float) -> list[float]:
    span = log10(high) - log10(low)
    steps = (1, 2, 5) if span < 2 else (1,)
    found = [
        step * 10.0**power for power in range(floor(log10(low)), ceil(log10(high)) + 1) for step in steps
    ]
    return [tick for tick in found if low <= tick <= high]


def _round(low: float, high: float, wanted: int = 5) -> list[float]:
    rough = (high - low) / wanted
    power = 10.0 ** floor(log10(rough))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)
    return [number * step for number in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _told(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
