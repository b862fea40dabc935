"""What a replay found."""

from dataclasses import dataclass
from typing import Any

Made = int | tuple[Any, ...]
"""What came of a decision: the status of a refusal; or replica, reason, matched tokens, whether to wait, predicted TTFT."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A decision that came out otherwise; `number` counts decisions of the process."""

    number: int
    now: float
    recorded: Made
    replayed: Made

    def __str__(self) -> str:
        recorded, replayed = _told(self.recorded), _told(self.replayed)
        return f"decision {self.number} at {self.now:.6f} s: recorded {recorded}; replayed {replayed}"


def _told(made: Made) -> str:
    if isinstance(made, int):
        return f"status {made}" if made else "nothing"
    *tier, replica, reason, matched, wait, predicted_s = made
    text = f"{replica} ({reason}), {matched} tokens matched{', to wait' * bool(wait)}"
    text += "" if predicted_s is None else f", TTFT of {predicted_s!r} s predicted"
    return f"tier {tier[0]} ({tier[1]}), {text}" if tier else text


@dataclass(slots=True)
class Counts:
    """`partial`: decisions after a beginning in the middle, and how many of these came out otherwise; the rest is of those whose
    whole history is there.
    """

    decisions: int = 0
    different: int = 0
    partial: int = 0
    partial_different: int = 0
    runs: int = 0
    lost_events: int = 0
    first_s: float | None = None
    last_s: float = 0.0
    first: Difference | None = None
