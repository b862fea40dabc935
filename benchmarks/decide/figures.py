"""From measured costs to figures, goals and tables. Pure.

A figure is a number under a key `measure/replicas`; `filled` stands for the fleet after all prompts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.decide.measure import FILLED_FLEET, FLEETS, Costs, Measured
from benchmarks.goals import Goal, Verdict, judge
from benchmarks.report import Table, number
from benchmarks.stats import percentile

FILLED = "filled"
MILLION = 1_000_000
UNCHANGED = 1.2
"""Two measurements of the same thing differ by as much."""

GOALS = [
    Goal("8 replicas, P50", "p50_us/8", 120, unit="us"),
    Goal("8 replicas, P99", "p99_us/8", 300, unit="us"),
    Goal("64 replicas, P50", "p50_us/64", 200, unit="us"),
    Goal("512 replicas, P50", "p50_us/512", 600, unit="us"),
    Goal(
        "P99 (x reference) after a million prompts to that before",
        "p99_ratio/million",
        UNCHANGED,
        f"p99_ratio/{FILLED_FLEET}",
    ),
    Goal("memory that a million prompts took", "growth_mb/million", 256, unit="MB"),
]


def figures(measured: Measured, prompts: int) -> dict[str, float]:
    """Every figure that there is. Those of a million prompts are there only if so many were sent."""
    found: dict[str, float | None] = {}
    for replicas, costs in measured.fleets.items():
        found |= _of(str(replicas), costs)
    if measured.filled is not None:
        found |= _of(FILLED, measured.filled)
    if measured.growth_bytes is not None:
        found[f"growth_mb/{FILLED}"] = measured.growth_bytes / 1e6
    if prompts >= MILLION:
        found["p99_ratio/million"] = found.get(f"p99_ratio/{FILLED}")
        found["growth_mb/million"] = found.get(f"growth_mb/{FILLED}")
    return {key: value for key, value in found.items() if value is not None}


def verdicts(result: Mapping[str, Any]) -> list[Verdict]:
    return judge(GOALS, result["figures"])


def tables(result: Mapping[str, Any]) -> list[Table]:
    got: Mapping[str, float] = result["figures"]
    prompts = result["plan"]["prompts"]
    rows = [_row(f"{replicas}", str(replicas), got) for replicas in FLEETS]
    rows.append(_row(f"{FILLED_FLEET}, after {prompts:,} prompts", FILLED, got))
    columns = ("replicas", "P50", "P99", "understand", "decide", "dispatch", "reference", "x reference")
    return [Table(f"One decision of `{result['plan']['policy']}`, CPU in us (parts: P50)", columns, rows)]


def _of(name: str, costs: Costs) -> dict[str, float | None]:
    whole, slow, reference = _us(costs.whole, 50), _us(costs.whole, 99), _us(costs.reference, 50)
    return {
        f"p50_us/{name}": whole,
        f"p99_us/{name}": slow,
        f"understand_us/{name}": _us(costs.understand, 50),
        f"decide_us/{name}": _us(costs.decide, 50),
        f"dispatch_us/{name}": _us(costs.dispatch, 50),
        f"reference_us/{name}": reference,
        f"ratio/{name}": whole / reference if whole and reference else None,
        f"p99_ratio/{name}": slow / reference if slow and reference else None,
    }


def _us(costs_ns: Sequence[int], q: float) -> float | None:
    found = percentile(costs_ns, q)
    return None if found is None else found / 1e3


def _row(label: str, name: str, got: Mapping[str, float]) -> tuple[str | None, ...]:
    parts = ("p50_us", "p99_us", "understand_us", "decide_us", "dispatch_us", "reference_us")
    return (
        label,
        *(number(got.get(f"{part}/{name}")) for part in parts),
        number(got.get(f"ratio/{name}"), 1),
    )
