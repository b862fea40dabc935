"""Goals of a benchmark: a figure and the most it may be, in itself or as a multiple of another figure. Pure.

A goal is never passed by default. A figure that was not measured leaves its goal "not measured"; a figure taken
while its subject answered wrongly is spoiled, and its goal missed; a spoiled reference is no reference.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Goal:
    """`figure <= at_most`, or `figure / reference <= at_most` where a reference is named."""

    title: str
    figure: str
    at_most: float
    reference: str | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    goal: Goal
    status: Status
    value: float | None = None
    why: str = ""


def judge(
    goals: Iterable[Goal], figures: Mapping[str, float], spoiled: AbstractSet[str] = frozenset()
) -> list[Verdict]:
    """`figures` maps a figure's key to its value; `spoiled` holds keys whose subject gave wrong answers."""
    return [_judge(goal, figures, spoiled) for goal in goals]


def _judge(goal: Goal, figures: Mapping[str, float], spoiled: AbstractSet[str]) -> Verdict:
    value = figures.get(goal.figure)
    if value is None:
        return Verdict(goal, Status.NOT_MEASURED)
    if goal.reference is not None:
        reference = figures.get(goal.reference)
        if reference is None or reference <= 0:
            return Verdict(goal, Status.NOT_MEASURED, why="no reference")
        if goal.reference in spoiled:
            return Verdict(goal, Status.NOT_MEASURED, why="errors in the reference")
        value /= reference
    if goal.figure in spoiled:
        return Verdict(goal, Status.MISSED, value, why="answers with errors")
    return Verdict(goal, Status.MET if value <= goal.at_most else Status.MISSED, value)
