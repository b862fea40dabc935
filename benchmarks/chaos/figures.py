"""From rows and windows to figures, tables and goals. Pure.

A request belongs to the last fault in whose window it lived, since that one ended it; one that hung belongs to the
first. All others belong to the quiet. A window that was skipped is none.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.chaos.run import Observed, Row, Window
from benchmarks.chaos.verdict import Outcome
from benchmarks.goals import Goal, Verdict, judge
from benchmarks.report import Table, number
from benchmarks.stats import percentile

QUIET = "no fault"
FULL_RUN = 20_000
SETTLE_S = 1.0
"""Time that a fault is given to pass over when it is undone: a window's tail."""

_FAILURES = (Outcome.FAILED, Outcome.UNCLEAR)
_BAD = frozenset({*_FAILURES, Outcome.TRUNCATED, Outcome.HUNG, Outcome.WRONG})
_QUANTILES = (50, 90, 99)
_EXAMPLES = 5


def figures(observed: Observed) -> dict[str, Any]:
    """All that is shown of one arm, ready for JSON."""
    windows = [window for window in observed.windows if not window.note]
    survivors = {window.fault: window.survivor for window in windows}
    by_fault: defaultdict[str, list[Row]] = defaultdict(list)
    for row, fault in zip(observed.rows, faults_of(observed.rows, windows), strict=True):
        by_fault[fault].append(row)
    order = [QUIET, *dict.fromkeys(window.fault for window in observed.windows)]
    phases = {
        fault: {"survivor": survivors.get(fault, True), **_phase(by_fault[fault])}
        for fault in order
        if fault == QUIET or fault in survivors
    }
    within = [row for fault, rows in by_fault.items() if fault != QUIET for row in rows]
    notes = {f"{window.fault}: {window.note}": None for window in observed.windows if window.note}
    return {
        "trouble": observed.trouble,
        "requests": len(observed.rows),
        "outcomes": _counts(observed.rows),
        "kinds": dict(Counter(row.kind for row in observed.rows)),
        "ttft_ms": {"within": _ttft_ms(within), "outside": _ttft_ms(by_fault[QUIET])},
        "failed_though_one_was_healthy": sum(
            phase["failed_resumable"] for phase in phases.values() if phase["survivor"]
        ),
        "leaks": observed.leaks,
        "phases": phases,
        "skipped": list(notes),
        "windows": [_window(window, observed.windows[0].began_s) for window in observed.windows],
    }


def faults_of(rows: Iterable[Row], windows: Sequence[Window]) -> list[str]:
    """To which each request belongs; windows in the order of time."""
    begins = [window.began_s for window in windows]
    ends = [window.ended_s + SETTLE_S for window in windows]
    found = []
    for row in rows:
        first, last = bisect_left(ends, row.due_s), bisect_right(begins, row.ended_s) - 1
        at = first if row.verdict.outcome is Outcome.HUNG else last
        found.append(windows[at].fault if first <= last else QUIET)
    return found


def _phase(rows: Sequence[Row]) -> dict[str, Any]:
    examples: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        outcome = row.verdict.outcome
        if outcome in _BAD and len(examples[outcome]) < _EXAMPLES:
            examples[outcome].append(f"{row.kind}: {row.verdict.why}")
    return {
        "requests": len(rows),
        "outcomes": _counts(rows),
        "failed_resumable": sum(row.resumable and row.verdict.outcome in _FAILURES for row in rows),
        "ttft_ms": _ttft_ms(rows),
        "examples": dict(examples),
    }


def _counts(rows: Iterable[Row]) -> dict[str, int]:
    counts = Counter(row.verdict.outcome for row in rows)
    return {str(outcome): counts[outcome] for outcome in Outcome}


def _ttft_ms(rows: Iterable[Row]) -> dict[str, float | None]:
    seen = [row.ttft_s * 1000 for row in rows if row.ttft_s is not None]
    return {f"p{q}": percentile(seen, q) for q in _QUANTILES}


def _window(window: Window, origin_s: float) -> dict[str, Any]:
    began_s, ended_s = round(window.began_s - origin_s, 2), round(window.ended_s - origin_s, 2)
    return {"fault": window.fault, "began_s": began_s, "ended_s": ended_s, "note": window.note}


def goals(*, full: bool) -> list[Goal]:
    found = [
        Goal("truncated silently", "truncated/balancer", 0),
        Goal("hung", "hung/balancer", 0),
        Goal("duplicated or wrong tokens", "wrong/balancer", 0),
        Goal("counters that did not come back to 0", "leaked/balancer", 0),
        Goal("failed though a replica was healthy (resumable)", "failed/balancer", 0),
    ]
    if full:
        found.append(Goal(f"requests short of {FULL_RUN:,}", "missing/balancer", 0))
    return found


def verdicts(result: Mapping[str, Any]) -> list[Verdict]:
    return judge(goals(full=not (result["plan"]["short"] or result["plan"]["real_vllm"])), flat(result))


def flat(result: Mapping[str, Any]) -> dict[str, float]:
    """The figures that goals speak of, of every arm that ran to its end."""
    found: dict[str, float] = {}
    for name, arm in result["arms"].items():
        if arm.get("trouble") or "outcomes" not in arm:
            continue
        for outcome in (Outcome.TRUNCATED, Outcome.HUNG, Outcome.WRONG):
            found[f"{outcome}/{name}"] = arm["outcomes"][outcome]
        found[f"leaked/{name}"] = len(arm["leaks"])
        found[f"failed/{name}"] = arm["failed_though_one_was_healthy"]
        found[f"missing/{name}"] = max(0, FULL_RUN - arm["requests"])
    return found


def tables(result: Mapping[str, Any]) -> list[Table]:
    return [
        _arms_table(result),
        *(_phases_table(name, arm) for name, arm in result["arms"].items() if "phases" in arm),
    ]


def _arms_table(result: Mapping[str, Any]) -> Table:
    """An arm to a column, as there are few of them."""
    arms = result["arms"]
    rows: list[tuple[str | None, ...]] = []

    def row(title: str, value: Any) -> None:
        rows.append((title, *(value(arm) if "outcomes" in arm else "not measured" for arm in arms.values())))

    row("requests", lambda arm: number(arm["requests"]))
    for outcome in Outcome:
        row(outcome, lambda arm, outcome=outcome: number(arm["outcomes"][outcome]))
    row("failed though a replica was healthy", lambda arm: number(arm["failed_though_one_was_healthy"]))
    row("leaked counters", lambda arm: None if arm["trouble"] else number(len(arm["leaks"])))
    for where in ("outside", "within"):
        for q in _QUANTILES:
            row(
                f"TTFT P{q} {where} faults, ms",
                lambda arm, where=where, q=q: number(arm["ttft_ms"][where][f"p{q}"], 1),
            )
    return Table("What became of the requests", ("", *arms), rows)


def _phases_table(name: str, arm: Mapping[str, Any]) -> Table:
    columns = ("fault", "requests", *Outcome, "P50 ms", "P90 ms", "P99 ms")
    rows = []
    for fault, phase in arm["phases"].items():
        counts = [number(phase["outcomes"][outcome]) for outcome in Outcome]
        ttft = [number(phase["ttft_ms"][f"p{q}"]) for q in _QUANTILES]
        title = fault if phase["survivor"] else f"{fault} (none healthy)"
        rows.append((title, number(phase["requests"]), *counts, *ttft))
    return Table(f"{name}, by fault", columns, rows)
