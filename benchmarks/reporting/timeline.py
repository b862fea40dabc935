"""A run second by second: what arrived, what was answered, how fast and how well cached. Pure."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from benchmarks.load.record import Outcome, Record
from benchmarks.reporting.figures import hit_rate


def timeline(records: Sequence[Record], step_s: float = 1.0) -> dict[str, Any]:
    """Columns with a value for each step, warm-up included.

    Arrivals, latencies and hit rates are of requests due in the step, answers and failures of those that ended in it;
    `under_way` is as the step begins.
    """
    if not records:
        return {"step_s": step_s}
    ends = [record.due_s if record.ended_s is None else record.ended_s for record in records]
    steps = max(1, ceil(max(*ends, *(record.due_s for record in records)) / step_s + 1e-9))
    due: list[list[Record]] = [[] for _ in range(steps)]
    answers, failures, change = ([0] * steps for _ in range(3))
    for record, ended_s in zip(records, ends, strict=True):
        due[min(int(record.due_s / step_s), steps - 1)].append(record)
        last = min(int(ended_s / step_s), steps - 1)
        if record.outcome is Outcome.ANSWERED:
            answers[last] += 1
        elif record.outcome not in (Outcome.LEFT, Outcome.UNFINISHED):
            failures[last] += 1
        began = ceil(record.due_s / step_s)
        if began < steps:
            change[began] += 1
        over = ceil(ended_s / step_s) if record.ended_s is not None else steps
        if began <= over < steps:
            change[over] -= 1
    return {
        "step_s": step_s,
        "arrivals": [len(group) for group in due],
        "answers": answers,
        "failures": failures,
        "p90_ttft_ms": [_p90_ttft_ms(group) for group in due],
        "hit_rate": [_rounded(hit_rate(_answered(group)), 4) for group in due],
        "under_way": np.cumsum(change).tolist(),
    }


def _answered(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.outcome is Outcome.ANSWERED]


def _p90_ttft_ms(records: Sequence[Record]) -> float | None:
    ttft_ms = [1000 * record.ttft_s for record in _answered(records) if record.ttft_s is not None]
    return _rounded(float(np.percentile(ttft_ms, 90)), 3) if ttft_ms else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
