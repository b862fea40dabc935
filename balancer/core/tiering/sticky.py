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

from balancer.core.tiering.types import Plan, Text

MOST = 50_000
"""Conversations that are remembered, the latest."""
FEWEST_CHARS = 8
"""A shorter turn ("yes") is repeated without meaning anything by it."""
MOST_BYTES = 1000
"""Who is dissatisfied says so in a short turn,"""

SAID_WITHIN = 120
"""and so early in it."""

_COMPLAINTS = (
    r"\b(that|this|it)( is|'s| was)( still| just| simply| completely)? (wrong|incorrect|not (correct|right|true|what i))",
    r"\b(that|this|it) (is|was|does|did)(n'?t| not) (correct|right|true|help|what i|work)",
    r"\byou('re| are| were) (wrong|mistaken)|\byou (misunderstood|ignored (my|the|what))",
    r"\bstill (wrong|incorrect|fails|failing|broken|not working|the same (error|problem|mistake))",
    r"^(no,? )?(wrong( answer)?|try (it )?again|do it again)\b|\bnot what i (asked|wanted|meant)",
    r"\bdas (ist|war) (immer noch |leider )?falsch|stimmt (so |leider )?nicht",
    r"versuch(e|s)? (es )?noch ?mal|geht immer noch nicht",
    r"c'est (toujours )?(faux|incorrect)|ce n'est pas (correct|juste|ce que)",
    r"\bréessaie|essaie encore|ça ne marche (toujours )?pas",
    r"\bestá mal\b|es incorrecto|no es (correcto|lo que)|inténtalo de nuevo|sigue sin funcionar",
    r"está errado|não está certo|tenta de novo|è sbagliato|ancora non funziona|\briprova\b",
    r"это (неправильно|неверно|не так)|^(неправильно|неверно)|попробуй (еще|ещё) раз|(все|всё) (еще|ещё) не работает",
    r"^(不对|不對|错了|錯了)|还是不对|還是不對|再试一次|再試一次|不是我(要|想)的",
    r"違います|^違う|間違って(い)?ます|もう一度やって|^틀렸|다시 해 ?(줘|봐|주세요)",
)
_COMPLAINT = re.compile("|".join(f"(?:{each})" for each in _COMPLAINTS))
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
        self._kept[key] = Kept(tier, tokens, least, _said(plan.text.last), propensity)
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)


def trouble(plan: Plan, kept: Kept) -> str:
    """What says that the conversation goes badly; empty: nothing."""
    text = plan.text
    if plan.rating is not None and plan.rating < 0.5:
        return "rated"
    if text.tool_failed:
        return "tool failed"
    if _repeated(text, kept):
        return "repeated"
    if text.last_bytes <= MOST_BYTES and _complains(text.last[:SAID_WITHIN]):
        return "dissatisfied"
    return ""


def _complains(text: str) -> bool:
    return _COMPLAINT.search(text.casefold().replace("\u2019", "'")) is not None


def _repeated(text: Text, kept: Kept) -> bool:
    words = _words(text.last)
    if len(words) < FEWEST_CHARS:
        return False
    return _said(text.last) == kept.said or f" {words} " in f" {_words(text.before)} "


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))


def _said(text: str) -> int:
    words = _words(text)
    return xxh3_64_intdigest(words.encode("utf-8", "surrogatepass")) if words else 0


def _key(plan: Plan) -> Key | None:
    if not plan.virtual.sticky or not plan.conversation:
        return None
    return plan.tenant, plan.virtual.name, plan.conversation
