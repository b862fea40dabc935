"""What is asked of a replica, and the figures of how it answered. Pure.

A point is a handful of calls with exact token counts and times. Measuring it and modelling it both give one course
a call; `figures` makes the same numbers of either.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from benchmarks.stats import median, percentile

_TOKEN_IDS = range(16, 2000)  # in every vocabulary, and past the special tokens of most


class Kind(StrEnum):
    COLD = "cold"  # one prompt, nothing cached
    CACHED = "cached"  # one prompt, all of it or its beginning cached
    DECODE = "decode"  # several at once, while all of them decode
    CHUNKED = "chunked"  # the last call's long prompt arrives while the others decode
    PREEMPTED = "preempted"  # more than the KV cache holds
    MIXED = "mixed"  # Poisson arrivals with shared prefixes


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens of a prompt that are the same wherever the same seed stands."""

    seed: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Call:
    at_s: float
    pieces: tuple[Piece, ...]
    output_tokens: int

    @property
    def prompt_tokens(self) -> int:
        return sum(piece.tokens for piece in self.pieces)

    def prompt(self) -> list[int]:
        return [
            token
            for piece in self.pieces
            for token in random.Random(piece.seed).choices(_TOKEN_IDS, k=piece.tokens)
        ]


@dataclass(frozen=True, slots=True)
class Point:
    """`warming` calls come before, one after another, and are not measured."""

    name: str
    kind: Kind
    calls: tuple[Call, ...]
    warming: tuple[Call, ...] = ()
    held_out: bool = True


@dataclass(slots=True)
class Course:
    """When a call was sent and when each of its tokens came, in seconds since the point began."""

    sent_s: float
    token_s: list[float] = field(default_factory=list)
    cached_tokens: int | None = None

    @property
    def ttft_s(self) -> float:
        return self.token_s[0] - self.sent_s

    @property
    def mean_itl_s(self) -> float | None:
        tokens = len(self.token_s) - 1
        return (self.token_s[-1] - self.token_s[0]) / tokens if tokens else None

    @property
    def longest_gap_s(self) -> float:
        return max(after - before for before, after in zip(self.token_s, self.token_s[1:], strict=False))


@dataclass(slots=True)
class Outcome:
    """`preemptions` is None where the replica does not tell."""

    courses: list[Course]
    preemptions: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A point's `figures` in seconds, medians of `rounds`, which keep one value a round; counts of the last round."""

    figures: Mapping[str, float]
    rounds: Mapping[str, Sequence[float]]
    cached_tokens: Sequence[int | None]
    preemptions: float | None

    @classmethod
    def of(cls, kind: Kind, outcomes: Sequence[Outcome]) -> Self:
        rounds: dict[str, list[float]] = {}
        for outcome in outcomes:
            for name, value in figures(kind, outcome.courses).items():
                rounds.setdefault(name, []).append(value)
        last = outcomes[-1]
        return cls(
            figures={
                name: middle for name, values in rounds.items() if (middle := median(values)) is not None
            },
            rounds=rounds,
            cached_tokens=[course.cached_tokens for course in last.courses],
            preemptions=last.preemptions,
        )


def figures(kind: Kind, courses: Sequence[Course]) -> dict[str, float]:
    """Seconds, by name. A figure that the courses do not hold is left out."""
    found: dict[str, float | None]
    match kind:
        case Kind.COLD | Kind.CACHED:
            found = {"TTFT": courses[0].ttft_s}
        case Kind.DECODE:
            found = {"ITL": _itl_while_all_decode(courses)}
        case Kind.CHUNKED:
            *others, long = courses
            found = {
                "TTFT of the long prompt": long.ttft_s,
                "stall of the others": median([course.longest_gap_s for course in others]),
            }
        case Kind.PREEMPTED:
            found = {"time of the batch": max(course.token_s[-1] for course in courses)}
        case Kind.MIXED:
            ttft_s = [course.ttft_s for course in courses]
            itl_s = [itl for course in courses if (itl := course.mean_itl_s) is not None]
            found = {
                "TTFT P50": percentile(ttft_s, 50),
                "TTFT P90": percentile(ttft_s, 90),
                "ITL P50": percentile(itl_s, 50),
            }
    return {name: value for name, value in found.items() if value is not None}


def _itl_while_all_decode(courses: Sequence[Course]) -> float | None:
    """From the last first token to the first last token."""
    begin_s = max(course.token_s[0] for course in courses)
    end_s = min(course.token_s[-1] for course in courses)
    tokens = sum(begin_s < at_s <= end_s for course in courses for at_s in course.token_s)
    return (end_s - begin_s) * len(courses) / tokens if tokens else None
