"""Rated requests as training rows: `{"prompt", "served", "ok", "p"}`, or `{"prompt", "winner"}` where somebody compared both
answers. `p` is the probability of the tier that was drawn for the conversation when it began: later turns stay where it is,
or move, with no odds of their own, and are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from balancer.accounting.outcome_store import Reading


@dataclass(slots=True)
class Left:
    """Rated requests that are not in the export, and why."""

    no_prompt: int = 0
    other_tier: int = 0
    later_turn: int = 0


def training_rows(reading: Reading, left: Left, since: float = 0.0) -> Iterator[bytes]:
    """Lines without their ends. `left` is counted up on the way."""
    columns = ("conversation", "prompt", "tier", "options", "propensity", "rating", "winner", "rated_at")
    begun: set[bytes] = set()
    for talk, prompt, tier, options, propensity, rating, winner, rated_at in reading.select(columns, since):
        later = talk in begun
        if talk:
            begun.add(talk)
        if rated_at is None:
            continue
        if not prompt:
            left.no_prompt += 1
        elif winner is not None:
            yield msgspec.json.encode({"prompt": prompt, "winner": winner})
        elif later:
            left.later_turn += 1
        else:
            tiers = [name for name, _ in msgspec.json.decode(options)]
            if len(tiers) > 1 and tier in {tiers[0], tiers[-1]}:
                served = "weak" if tier == tiers[0] else "strong"
                yield msgspec.json.encode({"prompt": prompt, "served": served, "ok": rating, "p": propensity})
            else:
                left.other_tier += 1


def export(reading: Reading, to: Path, since: float = 0.0) -> tuple[int, Left]:
    """How many rows were written, in place of what the file held, and what was left out.

    Raises: OSError.
    """
    left, written = Left(), 0
    aside = to.with_name(f"{to.name}.part")
    aside.touch(0o600)  # prompts are nobody else's
    with aside.open("wb") as out:
        for line in training_rows(reading, left, since):
            out.write(line + b"\n")
            written += 1
    aside.replace(to)
    return written, left
