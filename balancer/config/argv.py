"""Command lines as vLLM's users write them, brought to the one form that the parser of the commands reads.

`--worker_urls A B` becomes `--worker-urls=A --worker-urls=B`: underscores are accepted, a list takes all values up
to the next flag, `--no-access-log` is `--access-log=false`, and a flag without its value gets an empty one, so that
it is told with all other mistakes.
"""

from collections.abc import Mapping, Sequence
from enum import Enum

from balancer.config.mistakes import Mistake, nearest


class Takes(Enum):
    """What a flag takes behind it."""

    ONE = "one value"
    MANY = "one or more values"
    NOTHING = "nothing"


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def normalised(argv: Sequence[str], flags: Mapping[str, Takes]) -> list[str]:
    """`argv` of a command with these flags, named with underscores. What is not known goes through as it is."""
    words = list(reversed(argv))
    result: list[str] = []
    while words:
        word = words.pop()
        if word == "--":
            return [*result, word, *reversed(words)]
        if not word.startswith("--"):
            result.append(word)
            continue
        written, attached, value = word.partition("=")
        name = written.removeprefix("--").replace("-", "_")
        takes = flags.get(name)
        if attached:
            result.append(f"{flag(name)}={value}")
        elif takes is Takes.NOTHING:
            result.append(f"{flag(name)}=true")
        elif flags.get(name.removeprefix("no_")) is Takes.NOTHING:
            result.append(f"{flag(name.removeprefix('no_'))}=false")
        elif takes is None:
            result.append(flag(name))
        else:
            result += [f"{flag(name)}={each}" for each in _values(words, takes) or [""]]
    return result


def leftovers(words: Sequence[str], flags: Mapping[str, Takes]) -> list[Mistake]:
    """What the parser could not place. A word behind an unknown flag is taken for its value."""
    known = [flag(name) for name in flags]
    mistakes = []
    behind_unknown = False
    for word in words:
        if word.startswith("-"):
            name = word.partition("=")[0]
            mistakes.append(Mistake(name, f"a known flag{nearest(name, known)}", "command line"))
            behind_unknown = True
        elif not behind_unknown:
            mistakes.append(Mistake(repr(word), "a flag before it", "command line"))
    return mistakes


def _values(words: list[str], takes: Takes) -> list[str]:
    """Takes the values that come next off `words`, of which the last is the next."""
    values: list[str] = []
    while words and not words[-1].startswith("--") and (takes is Takes.MANY or not values):
        values.append(words.pop())
    return values
