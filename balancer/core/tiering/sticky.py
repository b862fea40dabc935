"""Which tier a conversation is with, and what says that this one is not enough.

A conversation is known by tenant, virtual model and its key. It moves up where a turn asks for more, or when it goes badly:

    repeated      the last user turn says again what one before it said
    dissatisfied  it says that the answer was wrong
    tool failed   the last tool call did
    rated         its last answer was rated in the lower half

and after that not below where it was moved to. Nothing is said of its first turn: there is nothing to go badly yet.
"""

import re
from collections import OrderedDict
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from balancer.core.tiering.complaints import complains
from balancer.core.tiering.types import Plan, Signs, Text

MOST = 50_000
"""Conversations that are remembered, the latest."""
FEWEST_CHARS = 8
"""A shorter turn ("yes") is repeated without meaning anything by it."""
_WORD = re.compile(r"\w+")


class Kept(NamedTuple):
    """`tokens` are those of its last prompt: what a move would compute again. It does not go below `least`, if it was moved up
    because it went badly. `said` is its last user turn, as a hash, `propensity` the probability that it is with this tier.
    """

    tier: str
    tokens: int
    least: str = ""
    said: int = 0
    propensity: float = 1.0


Key = tuple[str, str, bytes]
"""Tenant, virtual model, conversation."""


class Sticky:
    """Bounded: the conversation that was silent longest is forgotten first."""

    def __init__(self, most: int = MOST) -> None:
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._most = most

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        return f"<Sticky: {len(self._kept)} conversations>"

    def of(self, plan: Plan) -> Kept | None:
        """Where the conversation is. One that begins again is not with anybody."""
        key = _key(plan)
        return None if key is None or plan.text.turns < 2 else self._kept.get(key)

    def hold(self, plan: Plan, tier: str, tokens: int, least: str = "", propensity: float = 1.0) -> None:
        key = _key(plan)
        if key is None:
            return
        said = _said(plan.text.last) if plan.signs is None else plan.signs.said
        self._kept[key] = Kept(tier, tokens, least, said, propensity)
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)


def trouble(plan: Plan, kept: Kept) -> str:
    """What says that the conversation goes badly; empty: nothing."""
    if plan.rating is not None and plan.rating < 0.5:
        return "rated"
    signs = plan.signs or read_signs(plan.text)
    if signs.tool_failed:
        return "tool failed"
    if signs.again and (signs.repeats or signs.said == kept.said):
        return "repeated"
    return "dissatisfied" if signs.complains else ""


def read_signs(text: Text) -> Signs:
    words = _words(text.last)
    again = len(words) >= FEWEST_CHARS
    return Signs(
        _said(text.last),
        again,
        again and f" {words} " in f" {_words(text.before)} ",
        complains(text.last, text.last_bytes),
        text.tool_failed,
    )


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))


def _said(text: str) -> int:
    words = _words(text)
    return xxh3_64_intdigest(words.encode("utf-8", "surrogatepass")) if words else 0


def _key(plan: Plan) -> Key | None:
    if not plan.virtual.sticky or not plan.conversation:
        return None
    return plan.tenant, plan.virtual.name, plan.conversation
