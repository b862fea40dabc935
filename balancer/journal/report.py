"""What a replay found, as numbers and as text for people."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from balancer.journal.counterfactual import REFUSED, Row
from balancer.journal.counts import Counts
from balancer.journal.reader import Reading

WIDTH = 100
_PERCENTILES = (50, 90, 99)

Numbers = dict[str, Any]


def verified(counts: Counts, reading: Reading) -> Numbers:
    """Of the same policy."""
    return {
        "files": reading.files,
        "bytes": reading.bytes,
        "runs": counts.runs,
        "seconds": 0.0 if counts.first_s is None else round(counts.last_s - counts.first_s, 3),
        "decisions": counts.decisions,
        "verified": counts.decisions - counts.partial,
        "different": counts.different,
        "without_beginning": counts.partial,
        "without_beginning_different": counts.partial_different,
        "lost_events": counts.lost_events,
        "first_difference": None if counts.first is None else str(counts.first),
        "notes": reading.notes,
    }


def compared(rows: Sequence[Row], recorded: str, other: str) -> Numbers:
    """Of another policy."""
    both = [row for row in rows if _sent(row.recorded) and _sent(row.other) and row.other_s is not None]
    moved = [row for row in both if row.recorded != row.other]
    tokens = sum(row.prompt_tokens for row in both)
    told = [row for row in both if row.cached is not None]
    return {
        "recorded_policy": recorded,
        "policy": other,
        "requests": len(rows),
        "compared": len(both),
        "refused": {
            "recorded": sum(row.recorded == REFUSED for row in rows),
            "other": sum(row.other == REFUSED for row in rows),
        },
        "moved": len(moved),
        "ttft_s": {
            "recorded_known": _times(row.actual_s for row in both),
            "recorded_modelled": _times(row.modelled_s for row in both),
            "other_modelled": _times(row.other_s for row in both),
        },
        "hit_share": {
            "recorded_known": _share(
                sum(row.cached or 0 for row in told), sum(row.prompt_tokens for row in told)
            ),
            "recorded_modelled": _share(sum(row.matched or 0 for row in both), tokens),
            "other_modelled": _share(sum(row.other_matched or 0 for row in both), tokens),
        },
    }


def _sent(replica: str) -> bool:
    return replica not in {"", REFUSED}


def _times(values: Iterable[float | None]) -> Numbers | None:
    known = np.array([value for value in values if value is not None])
    if not known.size:
        return None
    return {
        "requests": int(known.size),
        "mean": float(known.mean()),
        **{f"p{each}": float(np.percentile(known, each)) for each in _PERCENTILES},
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def told(found: Numbers) -> str:
    """What `verified` found."""
    runs, files = (f"{found[what]} {what[:-1]}{'s' * (found[what] != 1)}" for what in ("runs", "files"))
    lines = [f"{found['decisions']:,} decisions in {found['seconds']:,.1f} s: {runs} of a balancer, {files}"]
    lines += [f"note: {note}" for note in found["notes"]]
    if found["lost_events"]:
        lines.append(f"note: {found['lost_events']:,} events were lost when it was written")
    if found["without_beginning"]:
        lines.append(
            f"note: {found['without_beginning']:,} decisions can't be verified, since what was before is not "
            f"there; {found['without_beginning_different']:,} of them came out otherwise"
        )
    if found["first_difference"] is not None:
        lines += [
            f"{found['different']:,} of {found['verified']:,} decisions came out otherwise; the first:",
            f"  {found['first_difference']}",
        ]
    elif found["verified"]:
        lines.append(f"all {found['verified']:,} verified: each decision is the same again")
    return "\n".join(lines) + "\n"


def told_of_other(found: Numbers) -> str:
    """What `compared` found."""
    other, recorded = found["policy"], found["recorded_policy"]
    if not found["compared"]:
        return f"no request to compare {other} by\n"
    ttft, hits = found["ttft_s"], found["hit_share"]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for name in (f"{recorded}, known", f"{recorded}, by the model", f"{other}, by the model"):
        table.add_column(name, justify="right")
    for key in ("mean", *(f"p{each}" for each in _PERCENTILES)):
        table.add_row(
            f"TTFT {key.upper() if key[0] == 'p' else key}", *(_ms(each, key) for each in ttft.values())
        )
    table.add_row("prompt tokens cached", *(_percent(each) for each in hits.values()))
    console = Console(width=WIDTH, no_color=True)
    with console.capture() as captured:
        console.print(
            f"{found['moved']:,} of {found['compared']:,} requests ({found['moved'] / found['compared']:.1%}) "
            f"would have gone to another replica under {other}.",
            highlight=False,
        )
        refused = found["refused"]
        if refused["recorded"] or refused["other"]:
            console.print(f"Refused: {refused['recorded']:,} were, {refused['other']:,} would have been.")
        console.print()
        console.print(table)
        console.print()
        console.print(_CAVEAT, highlight=False)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


_CAVEAT = (
    "Known is what clients got. By the model: what predicted_latency expects with the speeds that it learned of the known "
    "answers, for either policy, and what the prefix index believes to be cached. Compare the last two columns; how far "
    "the first two are apart is how far off the model is."
)


def _ms(times: Numbers | None, key: str) -> str:
    return "-" if times is None else f"{1000 * times[key]:,.1f} ms"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
