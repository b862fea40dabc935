"""From rows to figures, goals and tables. Pure.

A figure is a number under a key `measure/arm/body`; medians are over the repeats. The result file holds all figures,
so a table can be made of a file as well as of a run.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.goals import Goal, Verdict, judge
from benchmarks.overhead.arms import ARMS, OBSERVATION, OBSERVED, UNOBSERVED
from benchmarks.overhead.bodies import BODIES, STREAM_CHUNKS
from benchmarks.overhead.rows import Cost, Latency, ManyStreams, Measured
from benchmarks.report import Table, number
from benchmarks.stats import median, percentile

MANY = 2000
_OURS = ("balancer/round_robin", "balancer/cache_aware")
_DIRECT = "direct"


def _goals() -> list[Goal]:
    mine, peer = "balancer/cache_aware", "vllm-router/cache_aware"
    goals = [
        Goal(f"{body}: {mine} to {peer}", f"cpu_us/{mine}/{body}", most, f"cpu_us/{peer}/{body}")
        for body, most in (("small", 0.7), ("8k", 0.7), ("stream", 0.4))
    ]
    mine, peer = "balancer/round_robin", "vllm-router/round_robin"
    goals += [
        Goal(f"{body}: {mine} to {peer}", f"cpu_us/{mine}/{body}", 1.0, f"cpu_us/{peer}/{body}")
        for body in BODIES
    ]
    goals += [
        Goal(f"stream: {mine} to nginx", f"cpu_us/{mine}/stream", 2.0, "cpu_us/nginx/stream")
        for mine in _OURS
    ]
    mine = "balancer/cache_aware"
    return [
        *goals,
        Goal(f"{MANY:,} streams, lost", f"streams_lost/{mine}", 0),
        Goal(f"{MANY:,} streams, memory of each", f"streams_kib/{mine}", 64, unit="KiB"),
        Goal(f"{MANY:,} streams, CPU per chunk to 16's", f"streams_cpu_ratio/{mine}", 1.3, unit="x"),
    ]


GOALS = _goals()
OBSERVATION_GOALS = [
    Goal(
        f"{title}, all on to all off",
        f"cpu_us/{OBSERVED.name}/{body}",
        most,
        f"cpu_us/{UNOBSERVED.name}/{body}",
    )
    for title, body, most in (
        ("CPU per request, small", "small", 1.15),
        ("CPU per request, 8k", "8k", 1.15),
        ("CPU per chunk, paced", "paced", 1.03),
        ("CPU per chunk, as fast as it goes", "stream", 1.03),
    )
]
_KNOWN = (*ARMS, *OBSERVATION)


def figures(measured: Measured) -> dict[str, float]:
    """Every figure that there is; what was not measured has no key."""
    found: dict[str, float | None] = {}
    for arm in _KNOWN:
        costs = [row for row in measured.costs if row.arm == arm.name]
        for body in {row.body for row in costs}:
            found |= _cost_figures(arm.name, body, [row for row in costs if row.body == body])
        found |= _latency_figures(arm.name, measured.latencies)
        found |= _stream_figures(arm.name, [row for row in measured.streams if row.arm == arm.name])
        found[f"errors/{arm.name}"] = _errors(measured, arm.name)
    return {key: value for key, value in found.items() if value is not None}


def spoiled(measured: Measured) -> set[str]:
    """Keys of figures that were taken while their arm gave wrong answers."""
    wrong = {f"cpu_us/{row.arm}/{row.body}" for row in measured.costs if row.errors}
    for row in measured.streams:
        if row.errors:
            wrong |= {f"streams_kib/{row.arm}", f"streams_cpu_ratio/{row.arm}"}
    return wrong


def verdicts(result: Mapping[str, Any]) -> list[Verdict]:
    goals = OBSERVATION_GOALS if OBSERVED.name in result["arms"] else GOALS
    return judge(goals, result["figures"], set(result["spoiled"]))


def tables(result: Mapping[str, Any]) -> list[Table]:
    got: Mapping[str, float] = result["figures"]
    arms = [arm.name for arm in _KNOWN if arm.name in result["arms"]]
    labels = {name: f"{name} {result['arms'][name]['version'] or ''}".strip() for name in arms}
    made = [_cpu_table(got, arms, labels), _latency_table(got, arms, labels)]
    if any(key.startswith("streams_lost/") for key in got):
        made.append(_streams_table(got, arms, labels, result["plan"]["many_streams"]))
    return made


def _cost_figures(arm: str, body: str, rows: Sequence[Cost]) -> dict[str, float | None]:
    cpu_us = _median(row.cpu_us_per_request for row in rows)
    found = {
        f"cpu_us/{arm}/{body}": cpu_us,
        f"requests_per_s/{arm}/{body}": _median(row.requests_per_s for row in rows),
    }
    if BODIES[body].stream:
        reads = _median(row.reads_per_answer for row in rows)
        found[f"cpu_us_per_chunk/{arm}"] = None if cpu_us is None else cpu_us / STREAM_CHUNKS
        found[f"chunks_per_read/{arm}"] = None if not reads else STREAM_CHUNKS / reads
    return found


def _latency_figures(arm: str, rows: Sequence[Latency]) -> dict[str, float | None]:
    """`added` is against the direct way in the same repeat."""
    seen = {(row.arm, row.body, row.repeat): row.latencies_s for row in rows}
    found: dict[str, float | None] = {}
    for body in {row.body for row in rows if row.arm == arm}:
        repeats = sorted(repeat for name, of, repeat in seen if (name, of) == (arm, body))
        for q in (50, 99):
            own = {repeat: _ms(seen[arm, body, repeat], q) for repeat in repeats}
            direct = {repeat: _ms(seen.get((_DIRECT, body, repeat), ()), q) for repeat in repeats}
            found[f"p{q}_ms/{arm}/{body}"] = _median(own.values())
            if arm != _DIRECT:
                found[f"added_p{q}_ms/{arm}/{body}"] = _median(
                    _difference(own[repeat], direct[repeat]) for repeat in repeats
                )
    return found


def _stream_figures(arm: str, rows: Sequence[ManyStreams]) -> dict[str, float | None]:
    """Of the widest run; the goals speak of `MANY`, and fewer streams do not answer for them."""
    if not rows:
        return {}
    few, many = min(rows, key=lambda row: row.streams), max(rows, key=lambda row: row.streams)
    if few is many:
        return {}
    ratio = None
    if few.cpu_us_per_chunk and many.cpu_us_per_chunk:
        ratio = many.cpu_us_per_chunk / few.cpu_us_per_chunk
    return {
        f"streams_lost/{arm}": float(many.lost),
        f"streams_kib/{arm}": None if many.growth_bytes is None else many.growth_bytes / 1024 / many.streams,
        f"streams_cpu_us_per_chunk/{arm}": many.cpu_us_per_chunk,
        f"streams_few_cpu_us_per_chunk/{arm}": few.cpu_us_per_chunk,
        f"streams_cpu_ratio/{arm}": ratio,
    }


def _errors(measured: Measured, arm: str) -> float | None:
    rows: list[Cost | Latency | ManyStreams] = [*measured.costs, *measured.latencies, *measured.streams]
    counts = [sum(row.errors.values()) for row in rows if row.arm == arm]
    return float(sum(counts)) if counts else None


def _cpu_table(got: Mapping[str, float], arms: Sequence[str], labels: Mapping[str, str]) -> Table:
    columns = ("arm", *BODIES, "a chunk", "chunks a read", "small/s", "errors")
    rows = [
        (
            labels[arm],
            *(number(got.get(f"cpu_us/{arm}/{body}")) for body in BODIES),
            number(got.get(f"cpu_us_per_chunk/{arm}"), 1),
            number(got.get(f"chunks_per_read/{arm}"), 1),
            number(got.get(f"requests_per_s/{arm}/small")),
            number(got.get(f"errors/{arm}")),
        )
        for arm in arms
    ]
    return Table("CPU, µs per request (16 connections, closed loop)", columns, rows)


def _latency_table(got: Mapping[str, float], arms: Sequence[str], labels: Mapping[str, str]) -> Table:
    columns = (
        "arm",
        "small P50",
        "added",
        "small P99",
        "added",
        "stream P50",
        "added",
        "stream P99",
        "added",
    )
    rows = []
    for arm in arms:
        cells = [
            number(got.get(f"{kind}p{q}_ms/{arm}/{body}"), 2)
            for body in ("small", "stream")
            for q in (50, 99)
            for kind in ("", "added_")
        ]
        rows.append((labels[arm], *cells))
    return Table("Latency, ms (fixed rate; of a stream, to its first byte)", columns, rows)


def _streams_table(
    got: Mapping[str, float], arms: Sequence[str], labels: Mapping[str, str], streams: int
) -> Table:
    columns = ("arm", "lost", "KiB each", "CPU µs a chunk", "with 16 streams", "ratio")
    rows = [
        (
            labels[arm],
            number(got[f"streams_lost/{arm}"]),
            number(got.get(f"streams_kib/{arm}"), 1),
            number(got.get(f"streams_cpu_us_per_chunk/{arm}"), 1),
            number(got.get(f"streams_few_cpu_us_per_chunk/{arm}"), 1),
            number(got.get(f"streams_cpu_ratio/{arm}"), 2),
        )
        for arm in arms
        if f"streams_lost/{arm}" in got
    ]
    return Table(f"{streams:,} streams at once, 8,000 chunks/s in all", columns, rows)


def _ms(values_s: Sequence[float], q: float) -> float | None:
    value_s = percentile(values_s, q)
    return None if value_s is None else value_s * 1000


def _difference(own: float | None, direct: float | None) -> float | None:
    return None if own is None or direct is None else own - direct


def _median(values: Iterable[float | None]) -> float | None:
    return median([value for value in values if value is not None])
