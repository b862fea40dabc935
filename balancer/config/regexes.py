"""Regular expressions that a rule may run on what a stranger wrote: those of which it is known how long they can take at most.

Python's engine backtracks, so a pattern such as `(a+)+$` takes time that doubles with each character, and a loop that serves
everybody would stand still. Counted are the ways in which a pattern can match at one place of the text: a repetition without an
end counts as many ways as there are characters, those that follow each other are multiplied, and those in each other have no
bound. Characters times ways is at most MAX_STEPS: a pattern that needs it sees fewer characters, and one for which that is not
enough is refused, and told what to write instead: bounded repetitions.
"""

import re
from re import _constants as ops  # type: ignore[attr-defined]  # the parser of Python's own patterns has no public name
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from balancer.core.tiering.signals import MAX_CHARS, Pattern

MAX_STEPS = 1 << 21
"""About 15 ms for the worst text, on one busy core of 2024; ordinary text takes microseconds."""

FEW_CHARS = 1024

_FEW_REPEATS = 6
_REPEATS = {ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT}
_ASSERTS = {ops.ASSERT, ops.ASSERT_NOT}


def pattern_of(text: str) -> Pattern:
    """Case counts unless the text begins with `(?i)`. ValueError says what was expected."""
    try:
        made = re.compile(text)
        tree = _parser.parse(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"a regular expression: {error}") from None
    for chars in (MAX_CHARS, FEW_CHARS):
        if chars * _ways(tree, chars) <= MAX_STEPS:
            return Pattern(made, chars)
    raise ValueError(
        "a regular expression whose time is bounded: one `*` or `+` at most and none within another, "
        "`{0,20}` in the place of the others"
    )


def _ways(tree: Any, chars: int) -> float:
    """An upper bound on how many ways there are to match `tree` at one place."""
    ways = 1.0
    for op, value in tree:
        match op:
            case ops.BRANCH:
                each = [_ways(branch, chars) for branch in value[1]]
                ways *= max(each) if _told_apart(value[1]) else sum(each)
            case ops.SUBPATTERN:
                ways *= _ways(value[-1], chars)
            case ops.ATOMIC_GROUP:
                ways *= _ways(value, chars)
            case ops.GROUPREF_EXISTS:
                ways *= sum(_ways(branch, chars) for branch in value[1:] if branch)
            case _ if op in _ASSERTS:
                ways *= _ways(value[1], chars)
            case ops.GROUPREF | ops.GROUPREF_IGNORE:  # it is compared character by character
                ways *= chars
            case _ if op in _REPEATS:
                least, most, body = value
                ways *= _repeated(least, chars if most is ops.MAXREPEAT else most, _ways(body, chars), chars)
    return ways


def _repeated(least: int, most: int, inner: float, chars: int) -> float:
    """`inner` are the ways of what is repeated."""
    most = min(most, chars)
    lengths = float(most - min(least, most) + 1)
    if inner <= 1:
        return lengths
    return lengths * inner**most if most <= _FEW_REPEATS and inner <= chars else float("inf")


def _told_apart(branches: Any) -> bool:
    """Whether the first character tells which of them it is, in any case."""
    firsts = [branch[0] if len(branch) else None for branch in branches]
    literals = {chr(each[1]).casefold()[0] for each in firsts if each is not None and each[0] is ops.LITERAL}
    return len(literals) == len(firsts)
