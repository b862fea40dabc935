"""The goals of a comparison: where ours is the best or not beyond noise behind it, and every cell where it is not. Pure.

The subject is the first of our policies. Its rivals are all other arms, those of ours too, in TTFT P90; in E2E P90 and
throughput every arm of ours that reads prompts is held against the peers. An arm is held against the best rival alone, which is
the one with the best figure among those that left no more requests without an answer than SPOILED, or than itself; one
that left more is lost, whatever its latencies.

Every cell is a test at 95 %, so of cells without any difference about one in forty is lost by chance.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.compare.samples import E2E, FIGURES, TOKENS, TTFT, Arm, Place, paired
from benchmarks.compare.statistics import Interval, differs, ratio, told
from benchmarks.goals import Goal, Status, Verdict
from benchmarks.goals import judge as judge_figures
from benchmarks.report import Table

OURS = "balancer/"
LOAD_ONLY = frozenset({"random", "round_robin", "least_requests", "power_of_two", "session"})
"""Policies of ours that do not read prompts: what they lose is what reading is worth."""
BUSY = 0.7
SPOILED = 0.01
LADDER = frozenset({"fresh_questions", "fixed_questions", "ladder"})
"""llm-d's workloads, for which it published 57 times the TTFT and 3 times the latency of load-only routing past the knee."""

Measured = Mapping[Place, Mapping[str, Arm]]


@dataclass(frozen=True, slots=True)
class Loss:
    place: Place
    figure: str
    arm: str
    rival: str
    ratio: Interval | None
    why: str


@dataclass(frozen=True, slots=True)
class _Line:
    title: str
    figure: str
    arms: Callable[[Collection[str]], Sequence[str]]
    rivals: Callable[[str], bool]
    at: Callable[[float], bool]


def losses(measured: Measured, subject: str) -> list[Loss]:
    return [loss for line in _lines(subject) for loss in _lost(line, measured)]


def verdicts(
    measured: Measured, subject: str, places: Collection[Place], arms: Collection[str]
) -> list[Verdict]:
    """`places` and `arms` are all that were to be measured: where a cell is missing, a goal is missed or not measured, never met.
    A rival that could be measured nowhere is no rival.
    """
    return [
        *(_verdict(line, measured, places, arms) for line in _lines(subject)),
        *_published(measured, subject),
    ]


def _lines(subject: str) -> tuple[_Line, ...]:
    def reading(arms: Collection[str]) -> Sequence[str]:
        return [arm for arm in arms if arm.startswith(OURS) and arm.removeprefix(OURS) not in LOAD_ONLY]

    def only_subject(arms: Collection[str]) -> Sequence[str]:
        return [subject] if subject in arms else []

    def anybody(arm: str) -> bool:
        return arm != subject

    def peer(arm: str) -> bool:
        return not arm.startswith(OURS)

    return (
        _Line(f"lowest TTFT P90, load {BUSY:g} and more", TTFT, only_subject, anybody, lambda load: load >= BUSY),
        _Line(f"no worse than the lowest TTFT P90, load below {BUSY:g}", TTFT, only_subject, anybody, lambda load: load < BUSY),
        _Line("no arm of ours loses in E2E P90", E2E, reading, peer, lambda _: True),
        _Line("no arm of ours loses in output tokens/s", TOKENS, reading, peer, lambda _: True),
    )  # fmt: skip


def _lost(line: _Line, measured: Measured) -> list[Loss]:
    found = [
        _loss(place, line, arm, arms)
        for place, arms in measured.items()
        if line.at(place[1])
        for arm in line.arms(arms)
    ]
    return [loss for loss in found if loss is not None]


def _loss(place: Place, line: _Line, name: str, arms: Mapping[str, Arm]) -> Loss | None:
    ours = arms[name]
    rival = best_rival(
        line.figure, name, {other: arm for other, arm in arms.items() if line.rivals(other)}, ours
    )
    if rival is None:
        return None
    theirs = arms[rival]
    found = ratio(*paired(ours, theirs, line.figure), FIGURES[line.figure])
    if ours.unanswered_share > max(SPOILED, theirs.unanswered_share):
        return Loss(place, line.figure, name, rival, found, f"{ours.unanswered_share:.1%} without an answer")
    if found is None or not differs(found) or (found.value > 1) is (line.figure == TOKENS):
        return None
    return Loss(place, line.figure, name, rival, found, told(found))


def best_rival(figure: str, name: str, arms: Mapping[str, Arm], ours: Arm) -> str | None:
    """Among those who share a repeat with ours."""
    values: dict[str, float] = {}
    for other, arm in arms.items():
        _, theirs = paired(ours, arm, figure)
        if other == name or arm.unanswered_share > max(SPOILED, ours.unanswered_share):
            continue
        if any(len(run.values) for run in theirs):
            values[other] = FIGURES[figure].value(theirs)
    best = max if figure == TOKENS else min
    return best(values, key=values.__getitem__) if values else None


def _verdict(line: _Line, measured: Measured, places: Collection[Place], arms: Collection[str]) -> Verdict:
    goal = Goal(f"{line.title}: cells lost", line.figure, 0, unit="cells")
    asked = [place for place in places if line.at(place[1])]
    subjects = line.arms(arms)
    seen = {arm for found in measured.values() for arm in found}
    rivals = [arm for arm in arms if line.rivals(arm) and arm in seen]
    if not asked or not subjects or not rivals:
        return Verdict(goal, Status.NOT_MEASURED, why="no rival" if asked and subjects else "not planned")
    lost = _lost(line, measured)
    if lost:
        return Verdict(goal, Status.MISSED, len(lost))
    whole = [place for place in asked if {*subjects, *rivals} <= measured.get(place, {}).keys()]
    if len(whole) < len(asked):
        return Verdict(goal, Status.NOT_MEASURED, why=f"{len(whole)} of {len(asked)} cells with all arms")
    return Verdict(goal, Status.MET, 0)


def _published(measured: Measured, subject: str) -> list[Verdict]:
    """Against round robin, at the highest load past the knee."""
    base = f"{OURS}round_robin"
    past = [
        place
        for place, arms in measured.items()
        if place[0] in LADDER and place[1] > 1 and {subject, base} <= arms.keys()
    ]
    figures: dict[str, float] = {}
    goals = []
    for name, times in ((TTFT, 57), (E2E, 3)):
        goals.append(
            Goal(
                f"{name} to round robin's, llm-d's ladder past the knee",
                f"{subject} {name}",
                round(1 / times, 4),
                base + name,
            )
        )
        if past:
            arms = measured[max(past, key=lambda place: place[1])]
            ours, theirs = paired(arms[subject], arms[base], name)
            if any(len(run.values) for run in ours) and any(len(run.values) for run in theirs):
                figures[f"{subject} {name}"] = FIGURES[name].value(ours)
                figures[base + name] = FIGURES[name].value(theirs)
    return judge_figures(goals, figures)


def losses_table(found: Sequence[Loss]) -> Table:
    rows = [
        (f"{loss.place[0]} {loss.place[1]:g}", loss.figure, loss.arm, loss.why, loss.rival) for loss in found
    ]
    return Table("Losing cells", ("cell", "figure", "arm", "measured", "against"), rows)
