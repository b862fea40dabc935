"""What is wrong with a configuration, in words: the key, what was expected, what was given and where it stands."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from balancer.config.urls import redacted

_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake. `given` is None where there is nothing to show, or where what is there may be a secret."""

    key: str
    expected: str
    origin: str | None = None
    given: str | None = None

    def __str__(self) -> str:
        given = "" if self.given is None else f", given {self.given}"
        origin = "" if self.origin is None else f" ({self.origin})"
        return f"{self.key}: expected {self.expected}{given}{origin}"


class Contradiction(NamedTuple):
    """Values that are right alone and wrong together; `location` is where the user should look first, `involved` are the settings
    of which one may be wrong by itself: then nothing is said.
    """

    location: tuple[str | int, ...]
    expected: str
    involved: frozenset[str] = frozenset()


class ConfigError(Exception):
    """All that is wrong with a configuration, at once."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


def nearest(name: str, names: Sequence[str]) -> str:
    """Which of `names` was probably meant, as the end of a sentence; empty if none is near."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; the nearest is {near[0]}" if near else ""


def shown(value: object) -> str:
    """A wrong value for a message: short, on one line, and without what a URL may hold of secrets."""
    text = repr(redacted(value)) if isinstance(value, str) else redacted(repr(value))
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
