"""Decisions as the admin API tells them: what was asked, who could have had it at which cost, which rule decided, and what came
of it. Never prompts.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from time import monotonic, time
from typing import Any

from balancer.accounting.receipts import Receipts
from balancer.accounting.record import Attempt, Record, Tiered
from balancer.core.errors import bad_field
from balancer.core.scheduling.reasons import REASONS
from balancer.core.tiering.types import Offer
from balancer.core.types import Candidate, Decision, Usage

DEFAULT_LIMIT = 50
MOST = 1000

_FILTERS = frozenset({"limit", "model", "replica", "reason", "tier", "tenant", "status", "outcome", "state"})


def recent(receipts: Receipts, query: Mapping[str, str]) -> dict[str, Any]:
    """The latest, in short, that are as `query` says.

    Raises: Refused (400), naming what cannot be asked for.
    """
    unknown = sorted(query.keys() - _FILTERS)
    if unknown:
        raise bad_field(unknown[0], f"one of {', '.join(sorted(_FILTERS))}")
    limit = query.get("limit", str(DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit) <= MOST):
        raise bad_field("limit", f"a whole number from 1 to {MOST}")
    wanted = {name: value for name, value in query.items() if name != "limit"}
    found = (told for told in map(short, receipts.latest()) if _matches(told, wanted))
    return {"decisions": list(islice(found, int(limit)))}


def _matches(told: dict[str, Any], wanted: Mapping[str, str]) -> bool:
    return all(str(told[name] if told[name] is not None else "") == value for name, value in wanted.items())


def short(record: Record) -> dict[str, Any]:
    last = record.trail[-1] if record.trail else None
    return {
        "id": record.decision_id,
        "at": _wall(record.arrived_at),
        "state": "ended" if record.ended_at else "running",
        "route": record.path,
        "model": record.model,
        "tenant": record.tenant or None,
        "tier": record.tiered.tier if record.tiered is not None else None,
        "replica": record.replica,
        "reason": record.reason or None,
        "outcome": last.outcome or None if last is not None else None,
        "status": record.status or None,
        "attempts": record.attempts,
        "resumed": record.resumed,
        "matched_tokens": record.matched_tokens,
        "cached_tokens": record.usage and record.usage.cached_tokens,
        "prompt_tokens": record.usage and record.usage.prompt_tokens,
        "waited_s": record.waited_s,
        "predicted_ttft_s": record.predicted_ttft_s,
        "ttft_s": _since(record.arrived_at, record.token_at),
        "duration_s": _since(record.arrived_at, record.ended_at or None),
    }


def whole(record: Record) -> dict[str, Any]:
    """One, with all that is known."""
    return {
        **short(record),
        "ended_by": record.ended_by if record.ended_at else None,
        "usage": _usage(record.usage),
        "tiering": None if record.tiered is None else tiering_told(record.tiered) | {"usd": record.usd},
        "trail": [_attempt(attempt) for attempt in record.trail],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    usage = attempt.usage
    return {
        "replica": attempt.replica,
        "reason": attempt.reason,
        "rule": REASONS.get(attempt.reason, ""),
        "tier": attempt.tier or None,
        "resumes": attempt.resumes,
        "decided_at": _wall(attempt.decided_at),
        "waited_s": attempt.sent_at - attempt.decided_at,
        "matched_tokens": {
            "routing_history": attempt.matched_tokens,
            "confirmed_by_usage": usage and usage.cached_tokens,
        },
        "predicted_ttft_s": attempt.predicted_s,
        "candidates": list(candidates_told(attempt.candidates, attempt.replica)),
        "offers": [offer_told(offer) for offer in attempt.offers],
        "asked_s": _since(attempt.sent_at, attempt.asked_at),
        "first_byte_s": _since(attempt.sent_at, attempt.heard_at),
        "ttft_s": _since(attempt.sent_at, attempt.token_at),
        "duration_s": _since(attempt.sent_at, attempt.ended_at),
        "outcome": attempt.outcome or None,
        "status": attempt.status,
        "usage": _usage(usage),
    }


def decision_told(decision: Decision) -> dict[str, Any]:
    """One that nothing came of yet."""
    return {
        "replica": decision.replica,
        "reason": decision.reason,
        "rule": REASONS.get(decision.reason, ""),
        "waits": decision.wait,
        "matched_tokens": {"routing_history": decision.matched_tokens},
        "predicted_ttft_s": decision.predicted_s,
        "candidates": list(candidates_told(decision.candidates, decision.replica)),
    }


def candidates_told(candidates: Sequence[Candidate], chosen: str) -> Iterator[dict[str, Any]]:
    """Best first. Costs have parts, in seconds, where the policy counts so; else `cost` is in what it counts."""
    for each in candidates:
        parts = each.parts
        yield {
            "replica": each.replica,
            "chosen": each.replica == chosen,
            "cost": each.cost,
            "parts_s": None
            if parts is None
            else {name[:-2]: value for name, value in parts._asdict().items()},
            "matched_tokens": {"routing_history": each.matched_tokens},
            "in_flight": each.in_flight,
            "pending_tokens": each.pending_tokens,
        }


def offer_told(offer: Offer) -> dict[str, Any]:
    return {
        "tier": offer.tier.name,
        "model": offer.tier.model,
        "replica": offer.decision.replica,
        "ttft_s": offer.ttft_s,
        "cost_s": offer.cost_s,
        "usd": offer.usd,
        "uncached_tokens": offer.uncached_tokens,
        "candidates": list(candidates_told(offer.decision.candidates, offer.decision.replica)),
    }


def tiering_told(tiered: Tiered) -> dict[str, Any]:
    return {
        "asked": tiered.asked,
        "tier": tiered.tier,
        "model": tiered.model,
        "reason": tiered.reason,
        "rule": tiered.rule or None,
        "score": tiered.score,
        "spread": tiered.spread,
        "threshold": tiered.threshold,
        "propensity": tiered.propensity,
        "arm": tiered.arm or None,
        "shadow": tiered.shadow or None,
        "left": [{"tier": tier, "why": why} for tier, why in tiered.left],
        "barred": [{"tier": tier, "why": why} for tier, why in tiered.barred],
        "options": [{"tier": tier, "usd": usd} for tier, usd in tiered.options],
    }


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    return None if usage is None else usage._asdict()


def _since(begun: float, at: float | None) -> float | None:
    return None if at is None else at - begun


def _wall(at: float) -> float:
    """Unix time of one on the monotonic clock."""
    return round(time() - monotonic() + at, 3)
