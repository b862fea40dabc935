"""Dice that fall the same way for the whole of a conversation, and what the probability was that they fell so.

The law: nothing is drawn per request. A conversation that is explored, or in an arm of a test, stays there, since a switch
within it throws its prefix cache away and makes its ratings tell nothing of either tier. A draw needs no memory and no state
shared between balancers: it is a hash of the conversation, uniform in [0, 1). `use` says what is drawn, so that who is explored
does not tell which arm somebody is in.
"""

from collections.abc import Sequence
from typing import NamedTuple

from xxhash import xxh3_64_intdigest


class Drawn(NamedTuple):
    """The place of the tier that is taken, the probability that this one would be, and whether the dice said so."""

    option: int
    propensity: float
    explored: bool


def draw(conversation: bytes, use: str) -> float:
    """Uniform in [0, 1). Requests without a conversation have the decision's id in its place."""
    return (xxh3_64_intdigest(use.encode() + b"\xff" + conversation) >> 11) * 2.0**-53


def explore(drawn: float, share: float, preferred: int, count: int) -> Drawn:
    """With probability `share` any of `count` tiers, each as likely, else the preferred one.

    The propensity is that of the tier, not of the way to it: it may be drawn too where it is preferred.
    """
    option = preferred if drawn >= share else min(int(drawn / share * count), count - 1)
    propensity = share / count + (1.0 - share) * (option == preferred)
    return Drawn(option, propensity, drawn < share)


def arm(drawn: float, shares: Sequence[tuple[str, float]]) -> tuple[str, float]:
    """The arm of a test, and its probability. What the shares leave over is nobody's: ""."""
    reached = 0.0
    for name, share in shares:
        reached += share
        if drawn < reached:
            return name, share
    return "", max(0.0, 1.0 - reached)
