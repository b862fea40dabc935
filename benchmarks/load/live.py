"""A line on the terminal while a script plays: what was sent, what is under way, what came of it."""

import time
from collections import deque

from rich.console import Console
from rich.live import Live
from rich.text import Text

from benchmarks.load.record import Outcome, Record
from benchmarks.stats import percentile

_REFRESHES_PER_S = 2
_LATEST = 500
"""TTFT percentiles are of so many answers, the latest."""


class Progress:
    """`on_sent` and `on_record` are what `play` calls."""

    def __init__(self, end_s: float) -> None:
        self._end_s = end_s
        self._began_s = time.monotonic()
        self._sent = self._over = self._answered = 0
        self._ttft_s: deque[float] = deque(maxlen=_LATEST)

    def showing(self, console: Console) -> Live:
        """Shows it while its block runs; nothing where the console is no terminal."""
        return Live(
            console=console,
            get_renderable=lambda: Text(self.line(time.monotonic() - self._began_s), no_wrap=True),
            refresh_per_second=_REFRESHES_PER_S,
            transient=True,
        )

    def on_sent(self, record: Record) -> None:
        self._sent += 1

    def on_record(self, record: Record) -> None:
        self._over += 1
        if record.outcome is Outcome.ANSWERED:
            self._answered += 1
            if record.ttft_s is not None:
                self._ttft_s.append(record.ttft_s)

    def line(self, now_s: float) -> str:
        latest = list(self._ttft_s)
        p50, p90 = (_milliseconds(percentile(latest, q)) for q in (50, 90))
        rate = self._answered / now_s if now_s > 0 else 0.0
        return (
            f"{now_s:.0f} of {self._end_s:.0f} s  sent {self._sent:,}  under way {self._sent - self._over:,}  "
            f"answered {self._answered:,}  not {self._over - self._answered:,}  {rate:.1f}/s  TTFT P50 {p50}  P90 {p90}"
        )


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:,.0f} ms"
