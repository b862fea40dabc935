"""One line per request. Never prompts, keys or Authorization; what clients sent is escaped and bounded: nobody forges a line."""

import logging
from typing import Any

from balancer.accounting.record import Record
from balancer.logs import Fields, cut

log = logging.getLogger("balancer.access")

MAX_CHARS = 256
"""Of a value: a path or a model may be as long as a head or a body."""


def write(record: Record) -> None:
    if not log.isEnabledFor(logging.INFO):
        return
    tiered, usage = record.tiered, record.usage
    fields = {
        "request_id": record.request_id or None,
        "trace_id": record.trace_id or None,
        "method": record.method or None,
        "route": record.path,
        "tenant": record.tenant or None,
        "model": record.model,
        "replica": record.replica,
        "reason": record.reason or None,
        "decision_id": record.decision_id or None,
        "asked": tiered and tiered.asked,
        "tier": tiered and tiered.tier,
        "tier_reason": tiered and tiered.reason,
        "score": _rounded(tiered.score) if tiered is not None else None,
        "left": _left(tiered.left) if tiered is not None else None,
        "usd": record.usd,
        "status": record.status,
        "ended_by": record.ended_by,
        "error": record.error or None,
        "attempts": record.attempts,
        "resumed": record.resumed or None,
        "waited_s": _rounded(record.waited_s),
        "ttft_s": None if record.token_at is None else _rounded(record.token_at - record.arrived_at),
        "predicted_ttft_s": _rounded(record.predicted_ttft_s),
        "duration_s": _rounded(record.ended_at - record.arrived_at),
        "prompt_tokens": usage and usage.prompt_tokens,
        "cached_tokens": usage and usage.cached_tokens,
        "output_tokens": usage and usage.output_tokens,
    }
    log.info(Fields({name: _bounded(value) for name, value in fields.items() if value is not None}))


def _left(tiers: tuple[tuple[str, str], ...]) -> str | None:
    return ", ".join(f"{tier}={why}" for tier, why in tiers) or None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _bounded(value: Any) -> Any:
    return cut(value, MAX_CHARS) if isinstance(value, str) else value
