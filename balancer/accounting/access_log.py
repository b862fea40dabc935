"""One line per request. Never prompts, keys or Authorization; what clients sent is quoted, so no line can be forged."""

import logging

import msgspec

from balancer.accounting.record import Record

log = logging.getLogger("balancer.access")


def write(record: Record, request_id: str | None) -> None:
    fields = {
        "request_id": request_id,
        "route": record.path,
        "model": record.model,
        "replica": record.replica,
        "reason": record.reason,
        "status": record.status,
        "ended_by": record.ended_by,
        "attempts": record.attempts,
        "ttft_s": None if record.token_at is None else round(record.token_at - record.arrived_at, 4),
        "duration_s": round(record.ended_at - record.arrived_at, 4),
        "prompt_tokens": record.usage and record.usage.prompt_tokens,
        "cached_tokens": record.usage and record.usage.cached_tokens,
        "output_tokens": record.usage and record.usage.output_tokens,
    }
    log.info("%s", msgspec.json.encode({name: v for name, v in fields.items() if v is not None}).decode())
