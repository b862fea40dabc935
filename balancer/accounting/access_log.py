"""One line per request. Never prompts, keys or Authorization; what clients sent is quoted, so no line can be forged."""

import logging
from typing import Any

import msgspec

from balancer.accounting.record import Record

log = logging.getLogger("balancer.access")


def write(record: Record, request_id: str | None) -> None:
    tiered = record.tiered
    fields = {
        "request_id": request_id,
        "route": record.path,
        "model": record.model,
        "replica": record.replica,
        "reason": record.reason,
        "decision_id": record.decision_id or None,
        "asked": tiered and tiered.asked,
        "tier": tiered and tiered.tier,
        "tier_reason": tiered and tiered.reason,
        "score": _rounded(tiered.score) if tiered is not None else None,
        "left": _left(tiered.left) if tiered is not None else None,
        "usd": record.usd,
        "status": record.status,
        "ended_by": record.ended_by,
        "attempts": record.attempts,
        "waited_s": _rounded(record.waited_s),
        "ttft_s": None if record.token_at is None else _rounded(record.token_at - record.arrived_at),
        "predicted_ttft_s": _rounded(record.predicted_ttft_s),
        "duration_s": _rounded(record.ended_at - record.arrived_at),
        "prompt_tokens": record.usage and record.usage.prompt_tokens,
        "cached_tokens": record.usage and record.usage.cached_tokens,
        "output_tokens": record.usage and record.usage.output_tokens,
    }
    log.info(
        "%s", msgspec.json.encode({name: _plain(v) for name, v in fields.items() if v is not None}).decode()
    )


def _left(tiers: tuple[tuple[str, str], ...]) -> str | None:
    return ", ".join(f"{tier}={why}" for tier, why in tiers) or None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _plain(value: Any) -> Any:
    """Clients may send any bytes, and JSON any surrogate; a log line is UTF-8."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
