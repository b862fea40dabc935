"""`balancer top`: the live page in a terminal, by rich: no mouse, from 80x24 on, over SSH, without colour if there is none.

It asks `/admin/state` again and again. What others named themselves is printed as text: control characters are taken out, and
rich reads no markup in it.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import localtime, strftime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from balancer.admin_client import KEY_VARIABLE, AdminClient, AdminError, admin_url

NONE = "-"
BLOCKS = "▁▂▃▄▅▆▇█"
MOST_ALERTS = 4
MOST_DECISIONS = 10
"""With --once."""
LEAST_LINES = 12
HEALTHS = {
    "healthy": "green",
    "unhealthy": "bold red",
    "ejected": "bold red",
    "asleep": "yellow",
    "unknown": "yellow",
}
_UNSEEN = dict.fromkeys(
    (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "�"
)
"""Control characters, and those that turn the direction of text: a terminal would obey them."""


@dataclass(frozen=True, slots=True)
class TopOptions:
    """A mistake in here is a ValueError that names the option. `interval_s` is the time between two looks."""

    url: str
    once: bool = False
    as_json: bool = False
    interval_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.interval_s <= 60:
            raise ValueError(f"--interval: expected 0.1 to 60 seconds, got {self.interval_s:g}")
        if self.as_json and not self.once:
            raise ValueError("--json: expected with --once")

    @classmethod
    def of(cls, url: str | None, *, once: bool, as_json: bool, interval_s: float) -> "TopOptions":
        return cls(admin_url(url), once, as_json, interval_s)


def run_top(options: TopOptions, console: Console | None = None) -> int:
    """The exit status: 1, if the balancer could not be asked."""
    console = console or Console(highlight=False, markup=False, emoji=False)
    client = AdminClient(options.url, os.environ.get(KEY_VARIABLE))
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        if options.once:
            return _once(client, options, console, stop)
        if not console.is_terminal:
            print("balancer top: this is no terminal: use --once, or --once --json", file=sys.stderr)
            return 2
        return _follow(client, options, console, stop)
    except AdminError as error:
        print(f"balancer top: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        client.close()


def _once(client: AdminClient, options: TopOptions, console: Console, stop: threading.Event) -> int:
    """A second look an interval later, where the first could tell no rates yet."""
    state = client.ask("/admin/state")
    if state["watched_s"] < options.interval_s or state["total"]["hit_rate"] is None:
        stop.wait(options.interval_s)
        state = client.ask("/admin/state")
    if options.as_json:
        print(json.dumps(state))
    else:
        console.print(Group(*shown(state, console.width, None)))
    return 0


def _follow(client: AdminClient, options: TopOptions, console: Console, stop: threading.Event) -> int:
    client.ask("/admin/state")  # what is wrong from the start is told on the plain screen
    with Live(console=console, screen=True, auto_refresh=False) as live:
        last: dict[str, Any] | None = None
        while not stop.is_set():
            problem = ""
            try:
                last = client.ask("/admin/state")
            except AdminError as error:
                problem = str(error)
            lines: list[RenderableType] = (
                [Text(clean(problem), style="bold red", no_wrap=True)] if problem else []
            )
            if last is not None:
                lines += shown(last, console.width, console.height - len(lines))
            live.update(Group(*lines), refresh=True)
            stop.wait(options.interval_s)
    return 0


# ---- what is shown


def shown(state: dict[str, Any], width: int, height: int | None) -> list[RenderableType]:
    """No more than `height` lines, None: all. Replicas go before decisions."""
    alerts = _alerts(state["alerts"])
    lines: list[RenderableType] = [*_head(state), *alerts]
    replicas = sorted(state["replicas"], key=lambda each: each["health"] == "healthy")
    decisions, tiers = state["decisions"], state["tiers"]
    if height is not None:
        left = max(LEAST_LINES, height) - len(lines) - 2  # the two heads of tables
        replicas, more = _most(
            replicas, max(3, left - min(len(decisions), 6) - (len(tiers) + 1) * bool(tiers))
        )
        left -= len(replicas) + bool(more)
        tiers = tiers if len(tiers) < left else []
        decisions = decisions[: max(0, left - (len(tiers) + 1) * bool(tiers))]
    else:
        more, decisions = 0, decisions[:MOST_DECISIONS]
    lines.append(_replicas(replicas, width))
    if more:
        lines.append(Text(f" and {more} more replicas", style="dim", no_wrap=True))
    if tiers:
        lines.append(_tiers(tiers))
    if decisions:
        lines.append(_decisions(decisions, width))
    return lines


def _most(values: list[Any], count: int) -> tuple[list[Any], int]:
    return (values, 0) if len(values) <= count else (values[: count - 1], len(values) - count + 1)


def _head(state: dict[str, Any]) -> list[Text]:
    total = state["total"]
    about = f"{state['version']}  policy {clean(state['policy'])}  up {span(state['up_s'])}  hits {percent(total['hit_rate'])}"
    first = Text.assemble(("balancer ", "bold"), about)
    if state["tiers"]:
        first.append(f"  ${total['usd_per_hour']:.2f}/h")
    if state["draining"]:
        first.append("  draining", "bold yellow")
    waiting = str(total["waiting"]) + (f"/{total['max_waiting']}" if total["max_waiting"] else "")
    second = Text.assemble(
        f"in flight {total['in_flight']}  held {waiting}  {total['answers_per_s']:.1f} answers/s  ",
        (f"{total['errors_per_s']:.1f} errors/s", "bold red" if total["errors_per_s"] else ""),
        f"  TTFT P50 {seconds(total['ttft_p50_s'])} P90 {seconds(total['ttft_p90_s'])}",
    )
    for line in (first, second):
        line.no_wrap, line.overflow = True, "ellipsis"
    return [first, second]


def _alerts(alerts: list[dict[str, Any]]) -> list[Text]:
    shown_, more = _most(alerts, MOST_ALERTS)
    lines = []
    for each in shown_:
        style = "bold red" if each["severity"] == "page" else "yellow"
        word = "NOW " if each["severity"] == "page" else "SOON "
        text = f"{clean(each['subject'])}: {clean(each['what'])} {clean(each['action'])}"
        lines.append(Text.assemble((word, style), text, no_wrap=True, overflow="ellipsis"))
    if more:
        lines.append(Text(f"and {more} more alerts", style="yellow", no_wrap=True))
    return lines


def _replicas(replicas: list[dict[str, Any]], width: int) -> Table:
    wide = width >= 110
    table = _table(
        "replica", "state", "flight", "run", "wait", "KV", "hits", "P50", "P90", numbers=range(2, 9)
    )
    if wide:
        table.add_column("TTFT, last minute", width=30, no_wrap=True)
        table.add_column("GPU", no_wrap=True)
    for each in replicas:
        state = each["health"] if each["state"] == "serving" else f"{each['state']}, {each['health']}"
        cells: list[RenderableType] = [
            clean(each["name"]),
            Text(state, HEALTHS.get(each["health"], "")),
            str(each["in_flight"]),
            number(each["running"]),
            number(each["waiting"]),
            percent(each["kv_usage"]),
            percent(each["hit_rate"]),
            seconds(each["ttft_p50_s"]),
            seconds(each["ttft_p90_s"]),
        ]
        if wide:
            gpu = each["gpu"]["condition"] if each["gpu"] else NONE
            cells += [spark(each["ttft_points_s"]), Text(gpu, "bold red" if gpu in {"sick", "lost"} else "")]
        _add(table, cells)
    return table


def _tiers(tiers: list[dict[str, Any]]) -> Table:
    table = _table("tier", "model", "requests", "left", "cost", numbers=range(2, 5))
    for each in tiers:
        cells = (
            clean(each["name"]),
            clean(each["model"]),
            str(each["requests"]),
            str(each["left"]),
            f"${each['usd']:.4f}",
        )
        _add(table, cells)
    return table


def _decisions(decisions: list[dict[str, Any]], width: int) -> Table:
    wide = width >= 110
    names = (
        "at",
        "replica",
        "why",
        "model",
        "matched",
        "TTFT",
        "status",
        *(("tier", "tenant") if wide else ()),
    )
    table = _table(*names, numbers=range(4, 7))
    widths = {"at": 8, "matched": 7, "TTFT": 6, "status": 6}
    rest = (width - sum(widths.values()) - 2 * (len(names) - 1)) // (len(names) - len(widths))
    for column, name in zip(table.columns, names, strict=True):
        if name in widths:
            column.min_width = widths[name]
        else:
            column.max_width = max(rest, len(name))
    for each in decisions:
        ended = each["state"] == "ended"
        status = str(each["status"]) if ended else f"try {each['attempts']}" if each["attempts"] > 1 else ""
        cells: list[RenderableType] = [
            strftime("%H:%M:%S", localtime(each["at"])),
            clean(each["replica"] or NONE),
            clean(each["reason"] or NONE),
            clean(each["model"] or NONE),
            number(each["matched_tokens"]),
            seconds(each["ttft_s"]) if ended else "",
            Text(status, "bold red" if ended and each["status"] >= 500 else ""),
        ]
        if wide:
            tier = NONE if each["tier"] is None else clean(f"{each['tier']} ({each['tier_reason']})")
            cells += [tier, clean(each["tenant"] or NONE)]
        _add(table, cells)
    return table


def _table(*names: str, numbers: Sequence[int]) -> Table:
    table = Table(box=None, pad_edge=False, expand=False, header_style="bold")
    for at, name in enumerate(names):
        table.add_column(
            name,
            justify="right" if at in numbers else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=len(name),
        )
    return table


def _add(table: Table, cells: Sequence[RenderableType]) -> None:
    """Text is text, and no markup of rich."""
    table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))


def clean(text: str) -> str:
    """As it may be written to a terminal."""
    return text.translate(_UNSEEN)


def seconds(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value * 1000:.0f} ms" if value < 0.9995 else f"{value:.1f} s"


def percent(share: float | None) -> str:
    return NONE if share is None else f"{share:.0%}"


def number(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def span(value: float) -> str:
    minutes = int(value // 60)
    if minutes < 1:
        return f"{value:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 2880 else f"{minutes // 1440} d"


def spark(points: list[list[float] | None]) -> str:
    """P90 of each two seconds, the worse of them; a space where nothing came."""
    pairs = [
        max((each[1] for each in points[at : at + 2] if each is not None), default=None)
        for at in range(0, len(points), 2)
    ]
    most = max((each for each in pairs if each is not None), default=0) or 1.0
    return "".join(" " if each is None else BLOCKS[min(7, int(each / most * 7.999))] for each in pairs)
