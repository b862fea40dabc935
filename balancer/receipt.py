"""What an answer's head tells of the decision behind it, in lines that begin with `x-balancer-`."""

from functools import lru_cache

from balancer.accounting.record import Record, Tiered

_CONTROLS = dict.fromkeys((*range(0x20), 0x7F))


def receipt(record: Record) -> bytes:
    """Whole lines; `record` tells of the attempt that is about to be sent."""
    of_attempt = _choice(record.replica or "", record.reason)
    lines = f"{of_attempt}x-balancer-decision-id: {record.decision_id}\r\n".encode()
    return lines if record.tiered is None else lines + _of_tier(record.tiered)


@lru_cache(1024)
def _choice(replica: str, reason: str) -> str:
    return (_line("replica", replica) + _line("reason", reason)).decode()


def _of_tier(tiered: Tiered) -> bytes:
    lines = _line("tier", tiered.tier) + _line("tier-reason", tiered.reason)
    if tiered.rule:
        lines += _line("rule", tiered.rule)
    for name, value in (("score", tiered.score), ("threshold", tiered.threshold)):
        if value is not None:
            lines += _line(name, f"{value:.3f}")
    for name, tiers in (("fallback", tiered.left), ("skipped", tiered.barred)):
        if tiers:
            lines += _line(name, ", ".join(f"{tier}={why}" for tier, why in tiers))
    return lines


def _line(name: str, value: str) -> bytes:
    """Names come from the configuration: whatever they hold, it is one line."""
    return b"x-balancer-%s: %s\r\n" % (name.encode(), value.translate(_CONTROLS).encode("utf-8", "replace"))
