"""What a run has to reach, as asked on the command line: `--assert 'p90_ttft_ms<500'`. Pure.

The names are those of a run's document, the numbers at its top. `ttft_p90_ms` and `e2e_p90_ms` mean `p90_ttft_ms` and
`p90_e2el_ms`, and so for the other latencies. What was not measured is not reached.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from benchmarks.goals import Status, Verdict
from benchmarks.reporting.documents import Observed, measured

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_FORM = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*(\S+)\s*")
_ALIAS = re.compile(r"(ttft|tpot|itl|e2el?)_(mean|median|std|p\d+)_ms")


@dataclass(frozen=True, slots=True)
class Assertion:
    """`figure` by the document's own name."""

    figure: str
    sign: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> "Assertion":
        form = _FORM.fullmatch(text)
        try:
            limit = float(form[3]) if form else float("nan")
        except ValueError:
            limit = float("nan")
        if not form or not isfinite(limit):
            raise ValueError(f"--assert: expected FIGURE, one of < <= > >=, and a number; got {text!r}")
        return cls(_named(form[1]), form[2], limit)

    def __str__(self) -> str:
        return f"{self.figure} {self.sign} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing asked of a result, and whether it holds."""

    title: str
    status: Status
    why: str = ""


def check(assertions: Iterable[Assertion], document: Mapping[str, Any]) -> list[Check]:
    """Each assertion, by the figures at the top of a run's document: of several stages, those of all together."""
    return [_check(assertion, document) for assertion in assertions]


def validity(document: Mapping[str, Any]) -> Check:
    valid = bool(document["valid"])
    return Check("the run is valid", Status.MET if valid else Status.MISSED, document["invalid"] or "")


def of_goals(verdicts: Iterable[Verdict]) -> list[Check]:
    checks = []
    for verdict in verdicts:
        goal = verdict.goal
        measured = (
            "" if verdict.value is None else f"measured {verdict.value:g}, asked at most {goal.at_most:g}"
        )
        why = "; ".join(part for part in (verdict.why, measured) if part)
        checks.append(Check(goal.title, verdict.status, why))
    return checks


def _check(assertion: Assertion, document: Mapping[str, Any]) -> Check:
    value = document[assertion.figure]
    if value is None:
        return Check(str(assertion), Status.MISSED, "nothing was measured for it")
    reached = _COMPARE[assertion.sign](value, assertion.limit)
    return Check(str(assertion), Status.MET if reached else Status.MISSED, f"measured {value:g}")


def _named(figure: str) -> str:
    """The document's own name of a figure."""
    alias = _ALIAS.fullmatch(figure)
    name = f"{alias[2]}_{'e2el' if alias[1] == 'e2e' else alias[1]}_ms" if alias else figure
    if name not in _FIGURES:
        raise ValueError(f"--assert: expected a figure of {', '.join(_FIGURES)}; got {figure!r}")
    return name


def _names() -> list[str]:
    nothing = measured(Observed((), datetime.fromtimestamp(0, UTC), {"": (0.0, 1.0)}))
    numbers = {name for name, value in nothing.items() if value is None or type(value) in (int, float)}
    return sorted(numbers - {"invalid", "ttft_curve_ms"})


_FIGURES = _names()
