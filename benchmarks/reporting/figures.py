"""What the requests of a measured window come to, in the names and by the definitions of `vllm bench serve`. Pure.

A request belongs to the window in which it was due; warm-up belongs to none. Latencies are of answered requests, from when
each was due (`vllm bench serve` counts from when it was sent: the same, unless the generator is late). All others are
counted by outcome, and none of them is good. A figure that nothing was measured for is None, where vLLM says 0.

    num_prompts            requests due in the window = completed + failed + left + unfinished
    failed                 shed, refused, failed or timed out
    duration               from the window's start to the last end of its requests
    *_throughput           of its completed requests, over `duration`
    request_goodput        those of them within the service level, over `duration`; goodput_share: over num_prompts
    window_*_throughput    answers that ended in the window, warm-up's too, over its length: the steady rate, without the
                           drain after it
    ttft, e2el             to the first content, to the end
    tpot                   from the first content to the last, over output tokens - 1, of streams of two tokens or more
    itl                    gaps between events with content, of all requests together
    pNN                    numpy's linear interpolation, as in vLLM
    hit_rate               cached over prompt tokens, of answers whose usage tells both
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.load.record import Outcome, Record
from benchmarks.reporting.service import ServiceLevel

Window = tuple[float, float]
"""Seconds since the run began; the end is not in it."""

PERCENTILES = (50, 90, 95, 99)
LATENCIES = ("ttft", "tpot", "itl", "e2el")
CURVE = (*range(100), 99.5, 99.9, 100)
"""Percents of the distribution curve that a result keeps."""

_FAILURES = (Outcome.SHED, Outcome.REFUSED, Outcome.FAILED, Outcome.TIMED_OUT)


def due_in(records: Iterable[Record], window: Window) -> list[Record]:
    start_s, end_s = window
    return [record for record in records if start_s <= record.due_s < end_s]


def figures(
    records: Sequence[Record], windows: Sequence[Window], level: ServiceLevel | None = None
) -> dict[str, Any]:
    """Of all requests due in any of the windows, which do not overlap."""
    kept = [record for window in windows for record in due_in(records, window)]
    answered = [record for record in kept if record.outcome is Outcome.ANSWERED]
    duration_s = sum(_duration_s(due_in(records, window), window) for window in windows)
    outcomes = Counter(record.outcome for record in kept)
    input_tokens, output_tokens = _sum(answered, "prompt_tokens"), _sum(answered, "output_tokens")
    good = None if level is None else sum(map(level.met_by, kept))
    return {
        "duration": duration_s,
        "num_prompts": len(kept),
        "completed": len(answered),
        "failed": sum(outcomes[outcome] for outcome in _FAILURES),
        "outcomes": {str(outcome): outcomes[outcome] for outcome in Outcome},
        "errors": dict(Counter(f"{r.outcome}: {r.error}" for r in kept if r.error).most_common()),
        "total_input_tokens": input_tokens,
        "total_output_tokens": output_tokens,
        "without_usage": sum(record.output_tokens is None for record in answered),
        "request_throughput": len(answered) / duration_s,
        "request_goodput": None if good is None else good / duration_s,
        "goodput_share": None if good is None or not kept else good / len(kept),
        "output_throughput": output_tokens / duration_s,
        "total_token_throughput": (input_tokens + output_tokens) / duration_s,
        **_steady(records, windows),
        "max_output_tokens_per_s": _most_tokens_per_s(answered),
        "max_concurrent_requests": _most_at_once(answered),
        **latencies(answered),
        "hit_rate": hit_rate(answered),
        "ttft_curve_ms": _curve(answered),
    }


def latencies(answered: Iterable[Record]) -> dict[str, float | None]:
    """Mean, median, deviation and percentiles in ms of each latency."""
    records = list(answered)
    found: dict[str, float | None] = {}
    samples: dict[str, list[float | None]] = {
        "ttft": [record.ttft_s for record in records],
        "tpot": [record.tpot_s for record in records],
        "itl": [gap_s for record in records for gap_s in record.itl_s],
        "e2el": [record.e2e_s for record in records],
    }
    for name, values in samples.items():
        ms = 1000 * np.array([value for value in values if value is not None])
        statistics: dict[str, Callable[[Any], Any]] = {"mean": np.mean, "median": np.median, "std": np.std}
        found |= {f"{key}_{name}_ms": float(of(ms)) if ms.size else None for key, of in statistics.items()}
        found |= {f"p{q}_{name}_ms": float(np.percentile(ms, q)) if ms.size else None for q in PERCENTILES}
    return found


def hit_rate(records: Iterable[Record]) -> float | None:
    told = [
        (record.cached_tokens, record.prompt_tokens)
        for record in records
        if record.cached_tokens is not None and record.prompt_tokens
    ]
    return sum(cached for cached, _ in told) / sum(prompt for _, prompt in told) if told else None


def by_group(
    records: Iterable[Record], key: Callable[[Record], str | None], level: ServiceLevel | None = None
) -> dict[str, dict[str, Any]]:
    """The main figures of each replica, label, route ..., in the order of their names; None belongs to no group."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        if (name := key(record)) is not None:
            groups.setdefault(name, []).append(record)
    return {name: _main(groups[name], level) for name in sorted(groups)}


def _main(records: Sequence[Record], level: ServiceLevel | None) -> dict[str, Any]:
    answered = [record for record in records if record.outcome is Outcome.ANSWERED]
    all_latencies = latencies(answered)
    return {
        "num_prompts": len(records),
        "completed": len(answered),
        "failed": sum(record.outcome in _FAILURES for record in records),
        "total_input_tokens": _sum(answered, "prompt_tokens"),
        "total_output_tokens": _sum(answered, "output_tokens"),
        "hit_rate": hit_rate(answered),
        "goodput_share": None if level is None else sum(map(level.met_by, records)) / len(records),
        **{
            name: all_latencies[name]
            for name in ("p50_ttft_ms", "p90_ttft_ms", "p99_ttft_ms", "p90_tpot_ms", "p90_e2el_ms")
        },
    }


def _duration_s(records: Sequence[Record], window: Window) -> float:
    """At least a millisecond, so that rates stay finite."""
    start_s, end_s = window
    ends = [record.ended_s for record in records if record.ended_s is not None]
    return max(max(ends, default=end_s) - start_s, 1e-3)


def _steady(records: Sequence[Record], windows: Sequence[Window]) -> dict[str, float]:
    ended = [
        record
        for record in records
        if record.outcome is Outcome.ANSWERED
        and record.ended_s is not None
        and any(start_s <= record.ended_s < end_s for start_s, end_s in windows)
    ]
    length_s = max(sum(end_s - start_s for start_s, end_s in windows), 1e-3)
    return {
        "window_request_throughput": len(ended) / length_s,
        "window_output_throughput": _sum(ended, "output_tokens") / length_s,
    }


def _sum(records: Iterable[Record], field: str) -> int:
    return sum(getattr(record, field) or 0 for record in records)


def _most_tokens_per_s(answered: Sequence[Record]) -> float | None:
    """Events with content in the fullest second, counted from the first request's sending, as vLLM counts."""
    times = np.array([at_s for record in answered for at_s in record.token_s])
    if not times.size:
        return None
    first_s = min(_sent_s(record) for record in answered)
    return float(np.bincount(np.maximum(times - first_s, 0).astype(int)).max())


def _most_at_once(answered: Sequence[Record]) -> int:
    """An end at the very time of a start comes before it."""
    steps = [(_sent_s(record), 1) for record in answered]
    steps += [(record.ended_s, -1) for record in answered if record.ended_s is not None]
    most = now = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def _sent_s(record: Record) -> float:
    return record.due_s if record.sent_s is None else record.sent_s


def _curve(answered: Sequence[Record]) -> list[float] | None:
    ttft_ms = [1000 * record.ttft_s for record in answered if record.ttft_s is not None]
    return [round(float(value), 3) for value in np.percentile(ttft_ms, CURVE)] if ttft_ms else None
