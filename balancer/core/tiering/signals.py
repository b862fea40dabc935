"""What a rule may ask of a request. Each signal holds or does not; what cannot be known does not hold.

All look at no more than MAX_CHARS of the last user turn, so their time is bounded whatever was sent.
"""

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from balancer.core.tiering.complaints import complains
from balancer.core.tiering.language import language_of
from balancer.core.tiering.types import Score, Text

MAX_CHARS = 4096

BANDS = {"easy": (0.0, 1 / 3), "medium": (1 / 3, 2 / 3), "hard": (2 / 3, 1.0)}
"""A score is a share of the reference mix, so each is a third of it. The upper bound belongs to the next."""


class Seen:
    """One request, as the signals see it. What is costly is found once, and only if somebody asks."""

    def __init__(
        self,
        text: Text,
        *,
        tokens: int,
        tenant: str = "",
        wall_s: float = 0.0,
        rating: float | None = None,
        score: Callable[[], Score | None] = lambda: None,
    ) -> None:
        self.text = text
        self.tokens = tokens
        self.tenant = tenant
        self.wall_s = wall_s
        self.rating = rating
        self._score = score

    @cached_property
    def last(self) -> str:
        return ends(self.text.last, MAX_CHARS)

    @cached_property
    def folded(self) -> str:
        return folded(self.last)

    @cached_property
    def language(self) -> str | None:
        return language_of(self.last)

    @cached_property
    def score(self) -> Score | None:
        return self._score()


class Signal(ABC):
    @abstractmethod
    def holds(self, seen: Seen) -> bool: ...


@dataclass(frozen=True, slots=True)
class Keywords(Signal):
    """At least so many of the words, or phrases, stand in the text: whole, and in any case. `words` are `folded`."""

    words: tuple[str, ...]
    at_least: int = 1

    def holds(self, seen: Seen) -> bool:
        found = 0
        for word in self.words:
            found += stands_in(word, seen.folded)
            if found >= self.at_least:
                return True
        return False


@dataclass(frozen=True, slots=True)
class Pattern(Signal):
    """Found in so many characters: as many as its time allows (config/regexes.py)."""

    pattern: re.Pattern[str]
    chars: int = MAX_CHARS

    def holds(self, seen: Seen) -> bool:
        return self.pattern.search(ends(seen.last, self.chars)) is not None


@dataclass(frozen=True, slots=True)
class Language(Signal):
    languages: frozenset[str]

    def holds(self, seen: Seen) -> bool:
        return seen.language in self.languages


@dataclass(frozen=True, slots=True)
class Length(Signal):
    """Of the last turn in bytes, or of the whole prompt in tokens; both bounds belong to it."""

    least: int = 0
    most: float = float("inf")
    tokens: bool = False

    def holds(self, seen: Seen) -> bool:
        return self.least <= (seen.tokens if self.tokens else seen.text.last_bytes) <= self.most


@dataclass(frozen=True, slots=True)
class Structure(Signal):
    """The text has one of these in it: code, table, maths; or the request has images, audio, tools, or asks for JSON."""

    kinds: frozenset[str]

    def holds(self, seen: Seen) -> bool:
        return any(STRUCTURES[kind](seen) for kind in self.kinds)


@dataclass(frozen=True, slots=True)
class Complexity(Signal):
    """`least` <= score < `most`; a `most` of 1 belongs to it. A score that is not known is in no band."""

    least: float
    most: float

    def holds(self, seen: Seen) -> bool:
        score = seen.score
        if score is None or not score.known:
            return False
        return self.least <= score.value < self.most or score.value >= self.most == 1


@dataclass(frozen=True, slots=True)
class Feedback(Signal):
    """The user says that the last answer was bad, or has rated the conversation's last one below one half."""

    def holds(self, seen: Seen) -> bool:
        if seen.rating is not None and seen.rating < 0.5:
            return True
        return seen.text.turns > 1 and complains(seen.text.last, seen.text.last_bytes)


@dataclass(frozen=True, slots=True)
class TimeOfDay(Signal):
    """From one minute of the day until before another, which may be the next day's; on these weekdays (Monday is 0), by the day
    on which it began. `offset_s` is what local time is ahead of UTC.
    """

    start: int
    end: int
    days: frozenset[int] = frozenset(range(7))
    offset_s: int = 0

    def holds(self, seen: Seen) -> bool:
        day, second = divmod(int(seen.wall_s) + self.offset_s, 86_400)
        minute, weekday = second // 60, (day + 3) % 7  # 1970 began on a Thursday
        if self.start < self.end:
            return self.start <= minute < self.end and weekday in self.days
        if minute >= self.start:
            return weekday in self.days
        return minute < self.end and (weekday - 1) % 7 in self.days


@dataclass(frozen=True, slots=True)
class Tenant(Signal):
    tenants: frozenset[str]

    def holds(self, seen: Seen) -> bool:
        return seen.tenant in self.tenants


def ends(text: str, chars: int) -> str:
    """Head and tail of what is longer."""
    return text if len(text) <= chars else f"{text[: chars // 2]}\n{text[len(text) - chars // 2 :]}"


def folded(text: str) -> str:
    """For comparing: composed, and in one case."""
    return unicodedata.normalize("NFC", text).casefold()


def stands_in(word: str, text: str) -> bool:
    """Whether it stands there as a whole word; both are `folded`. Scripts without spaces have no ends of words to see, and Korean
    hangs its particles behind a noun: there only the beginning counts, or nothing.
    """
    if not word:
        return False
    at = text.find(word)
    while at >= 0:
        end = at + len(word)
        if (at == 0 or not _joined(text[at - 1], word[0], before=True)) and (
            end == len(text) or not _joined(text[end], word[-1], before=False)
        ):
            return True
        at = text.find(word, at + 1)
    return False


def _joined(neighbour: str, edge: str, *, before: bool) -> bool:
    """Whether both are of one word."""
    if neighbour.isascii() and edge.isascii():
        return (neighbour.isalnum() or neighbour == "_") and (edge.isalnum() or edge == "_")
    category = unicodedata.category(neighbour)
    if category[0] == "M":  # a vowel sign or an accent of the letter before it
        return True
    if category[0] not in "LN" or unicodedata.category(edge)[0] not in "LNM":
        return False
    if _is_unspaced(edge) or _is_unspaced(neighbour):
        return False
    return before or not _is_hangul(edge)


def _is_unspaced(char: str) -> bool:
    point = ord(char)
    return any(low <= point <= high for low, high in _UNSPACED)


def _is_hangul(char: str) -> bool:
    return "\uac00" <= char <= "\ud7a3" or "\u1100" <= char <= "\u11ff"


_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


_CODE = re.compile(
    r"```|^[ \t]{0,8}(?:def|class|import|from|function|const|let|var|public|private|return|SELECT|#include|fn|func|package)\b"
    r"[^\n]{0,80}[(){};:=<*]|;[ \t]{0,4}$|=>|</[a-z]",
    re.MULTILINE,
)
_TABLE = re.compile(
    r"^ {0,3}\|? ?:?-{3,80}:? ?\|"
    r"|^[^\t\n]{0,80}\t[^\t\n]{0,80}\t[^\n]{0,200}\n[^\t\n]{0,80}\t[^\t\n]{0,80}\t",
    re.MULTILINE,
)
_MATHS = re.compile(
    r"[∀-⋿√π]|\\(?:frac|sum|int|sqrt|begin|lim|partial|mathbb|alpha|beta|theta)\b|\$[^$\n]{1,120}[\\^_=][^$\n]{0,120}\$"
    r"|\d\s?[-+*/^×÷]\s?\d|\b[a-z]\s?(?:\^|\*\*)\s?\d|\b[a-z]\([a-z]\)\s?="
)

STRUCTURES: dict[str, Callable[[Seen], bool]] = {
    "code": lambda seen: _CODE.search(seen.last) is not None,
    "table": lambda seen: _TABLE.search(seen.last) is not None,
    "maths": lambda seen: _MATHS.search(seen.last) is not None,
    "images": lambda seen: seen.text.images > 0,
    "audio": lambda seen: seen.text.audio > 0,
    "tools": lambda seen: seen.text.tools > 0,
    "json": lambda seen: seen.text.structured,
}


def keywords(words: Iterable[str], at_least: int = 1) -> Keywords:
    return Keywords(tuple(dict.fromkeys(folded(word.strip()) for word in words if word.strip())), at_least)
