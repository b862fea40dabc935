"""What engines and balancer counted themselves between two readings of their metrics, to stand beside `usage`. Pure.

They count every request between the readings: warm-up too, where that lies between them.
"""

import re
from collections.abc import Mapping
from typing import Any

from balancer.vllm_api.metrics import EngineSample

_SERIES = re.compile(r"^(balancer_\w+?)(?:\{(.*)\})? (\S+)$", re.MULTILINE)

NO_PREDICTION = dict.fromkeys(("predicted_hit_rate", "predicted_hit_tokens", "actual_hit_tokens"))


def engines(
    before: Mapping[str, EngineSample], after: Mapping[str, EngineSample]
) -> dict[str, dict[str, float | None]]:
    """By replica, of those that told both times and did not restart meanwhile."""
    found = {}
    for name, late in after.items():
        early = before.get(name)
        if early is None or early.process_start_time_s != late.process_start_time_s:
            continue
        queried = _grown(early.prefix_queries_tokens, late.prefix_queries_tokens)
        hit = _grown(early.prefix_hits_tokens, late.prefix_hits_tokens)
        found[name] = {
            "prefix_queries_tokens": queried,
            "prefix_hits_tokens": hit,
            "hit_rate": hit / queried if queried and hit is not None else None,
            "preemptions": _grown(early.preemptions, late.preemptions),
        }
    return found


def engine_hit_rate(counted: Mapping[str, Mapping[str, float | None]]) -> float | None:
    """Over all engines; None unless each has told."""
    queried = [engine["prefix_queries_tokens"] for engine in counted.values()]
    hit = [engine["prefix_hits_tokens"] for engine in counted.values()]
    if None in queried or None in hit or not sum(value or 0 for value in queried):
        return None
    return sum(value or 0 for value in hit) / sum(value or 0 for value in queried)


def prediction(before: str, after: str) -> dict[str, Any] | None:
    """Of two readings of this balancer's own metrics; None where they are not its.

    `predicted_hit_rate` is what its index believed to be cached of all prompt tokens; the token counts are of answers that
    told what was really cached.
    """
    early, late = _totals(before), _totals(after)
    if not late:
        return None
    grown = {name: value - early.get(name, 0.0) for name, value in late.items()}
    prompt = grown.get("prompt", 0.0)
    return NO_PREDICTION | {
        "predicted_hit_rate": grown.get("matched", 0.0) / prompt if prompt else None,
        "predicted_hit_tokens": grown.get("balancer_predicted_hit_tokens_total", 0.0),
        "actual_hit_tokens": grown.get("balancer_actual_hit_tokens_total", 0.0),
    }


def _totals(page: str) -> dict[str, float]:
    """Summed over all labels but the kind of tokens."""
    found: dict[str, float] = {}
    for name, labels, value in _SERIES.findall(page):
        key = name
        if name == "balancer_tokens_total":
            kind = re.search(r'kind="(\w+)"', labels)
            key = kind[1] if kind else name
        elif name not in ("balancer_predicted_hit_tokens_total", "balancer_actual_hit_tokens_total"):
            continue
        found[key] = found.get(key, 0.0) + float(value)
    return found


def _grown(early: float | None, late: float | None) -> float | None:
    return None if early is None or late is None or late < early else late - early
