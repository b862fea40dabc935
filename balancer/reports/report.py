"""The report of an outcome log: for each virtual model what it saved, what it risked, and how sure that is.

Everything here is counted or estimated from the rows; what they can't tell is None, and `render.py` says so in words.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from balancer.reports.drift import Drift, drift
from balancer.reports.rows import NOBODY, Bools, Floats, Ints, Rows
from balancer.reports.sequential import Better, Verdict, compare
from balancer.reports.weighting import Estimate, Weighted, as_served, of_tier, wilson

DAY_S = 86_400
_DRAWN = ("score", "band", "explore")
"""Reasons of choices that had the probability which was logged."""

LATELY = 0.2
"""Drift compares this last part of the conversations with those before."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Of requests that more than one tier might have served (`free`), the share that went to another than the weakest. `asked`
    is the target, as in the settings; `days` are (days since 1970, requests, strong share).
    """

    asked: str
    free: int
    strong: float | None
    low: float
    high: float
    days: list[tuple[int, int, float]]


@dataclass(frozen=True, slots=True)
class Savings:
    """`usd` and what the same tokens would have cost at each request's strongest and weakest tier, over the `priced` requests
    of which all are known.
    """

    priced: int
    usd: float
    usd_all_strong: float
    usd_all_weak: float


@dataclass(frozen=True, slots=True)
class Quality:
    """Mean rating in [0, 1]. `tiers` are plain means of what each tier was rated, which compare different requests. The rest is
    over `randomised` rated requests, in conversations which each tier had a chance to begin: as they were served, and had the
    weakest or the strongest tier begun all. `loss` is what the strongest would have been better than what was served, `gain`
    what it is better than the weakest. `wins` count what clients said who had both answers.
    """

    rated: int
    tiers: dict[str, Estimate]
    randomised: int
    as_served: Estimate | None
    all_weak: Estimate | None
    all_strong: Estimate | None
    loss: Estimate | None
    gain: Estimate | None
    wins: dict[str, int]


@dataclass(frozen=True, slots=True)
class Risk:
    """`weak` requests were served by the weakest tier though another might have; of them `borderline` had a score within its own
    uncertainty of the threshold or above it, and `displeased` of `rated` ones were rated below one half.
    """

    weak: int
    borderline: int
    rated: int
    displeased: int
    failed: int


@dataclass(frozen=True, slots=True)
class Arms:
    """The first arm against the second of one test, by one outcome. Units are conversations; `means` are medians where lower is
    better.
    """

    experiment: str
    arms: tuple[str, str]
    outcome: str
    counts: tuple[int, int]
    middles: tuple[float, float]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Shadow:
    """What a virtual model in shadow mode would have done: requests by tier, how many were served by that tier anyway, and the
    money over the `priced` ones.
    """

    requests: int
    tiers: dict[str, int]
    same: int
    priced: int
    usd: float
    usd_then: float


@dataclass(frozen=True, slots=True)
class OfModel:
    """One virtual model. Times are unix seconds."""

    name: str
    requests: int
    conversations: int
    first_at: float
    last_at: float
    explored: int
    weakest: str
    strongest: str
    tiers: dict[str, int]
    reasons: dict[str, int]
    shares: Shares
    savings: Savings
    quality: Quality
    risk: Risk
    drift: Drift
    fallbacks: dict[str, dict[str, int]]
    arms: list[Arms]
    shadow: Shadow | None


def report(rows: Rows) -> list[OfModel]:
    """One for each virtual model, those with the most requests first."""
    virtual = rows.ints("virtual")
    numbers, counts = np.unique(virtual, return_counts=True)
    most_first = numbers[np.argsort(-counts, kind="stable")]
    return [_of_model(rows.name("virtual", int(each)), rows.where(virtual == each)) for each in most_first]


def _of_model(name: str, rows: Rows) -> OfModel:
    at = rows.floats("at")
    weakest, strongest = _usual(rows, "weakest"), _usual(rows, "strongest")
    fallbacks: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (model, tier, why), count in sorted(rows.fallbacks.items()):
        if model == name:
            fallbacks[tier][why] = count
    return OfModel(
        name,
        len(rows),
        int(np.unique(rows.ints("conversation")).size),
        float(at.min()),
        float(at.max()),
        int(rows.bools("explored").sum()),
        _tier(rows, weakest),
        _tier(rows, strongest),
        {_tier(rows, number): count for number, count in _counted(rows, "tier")},
        {rows.name("reason", number): count for number, count in _counted(rows, "reason") if number >= 0},
        _shares(rows),
        _savings(rows),
        _quality(rows),
        _risk(rows),
        _drift(rows),
        dict(fallbacks),
        _arms(rows, name),
        _shadow(rows),
    )


def _usual(rows: Rows, column: str) -> int:
    counted = _counted(rows, column)
    return counted[0][0] if counted else NOBODY


def _counted(rows: Rows, column: str) -> list[tuple[int, int]]:
    """Numbers and how often they are there, the most frequent first."""
    numbers, counts = np.unique(rows.ints(column), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(int(numbers[each]), int(counts[each])) for each in order]


def _tier(rows: Rows, number: int) -> str:
    return rows.tiers[number] if number >= 0 else ""


def _free(rows: Rows) -> Bools:
    found: Bools = rows.ints("options") > 1
    return found


def _shares(rows: Rows) -> Shares:
    free = rows.where(_free(rows))
    strong = free.ints("tier") != free.ints("weakest")
    target = rows.ints("target")[-1]
    low, high = wilson(float(strong.sum()), len(free))
    day = (free.floats("at") // DAY_S).astype(np.int64)
    days = [
        (int(each), int((day == each).sum()), float(strong[day == each].mean())) for each in np.unique(day)
    ]
    return Shares(
        rows.name("target", int(target)) if target >= 0 else "",
        len(free),
        float(strong.mean()) if len(free) else None,
        low,
        high,
        days,
    )


def _savings(rows: Rows) -> Savings:
    usd, strong, weak = (rows.floats(name) for name in ("usd", "usd_strongest", "usd_weakest"))
    priced = ~(np.isnan(usd) | np.isnan(strong) | np.isnan(weak))
    return Savings(
        int(priced.sum()),
        float(usd[priced].sum()),
        float(strong[priced].sum()),
        float(weak[priced].sum()),
    )


def _quality(rows: Rows) -> Quality:
    wins = {
        who: int(rows.named("winner", who).sum())
        for who in ("strong", "weak", "tie")
        if rows.named("winner", who).any()
    }
    rated = rows.where(~np.isnan(rows.floats("rating")))
    tiers = {}
    for number, _ in _counted(rated, "tier"):
        of_it = rated.where(rated.ints("tier") == number)
        found = as_served(of_it.floats("rating"), *_clusters(of_it))
        if found is not None:
            tiers[_tier(rows, number)] = found.estimate()
    chance, began, p = _randomised(rows)
    served = as_served(chance.floats("rating"), *_clusters(chance))
    weak, strong = (_had_begun(chance, began, p, which) for which in ("weakest", "strongest"))
    return Quality(
        len(rated),
        tiers,
        len(chance),
        _estimate(served),
        _estimate(weak),
        _estimate(strong),
        _difference(strong, served),
        _difference(strong, weak),
        wins,
    )


def _randomised(rows: Rows) -> tuple[Rows, Ints, Floats]:
    """The rated rows of conversations whose first tier was drawn with known odds, that tier, and its probability. What came of it
    later in the conversation, such as a move up, is part of what beginning there leads to; later choices are not drawn anew.
    """
    firsts = _firsts(rows)
    first_of = np.zeros(int(rows.ints("conversation").max()) + 1, np.int64)
    first_of[rows.ints("conversation")[firsts]] = firsts
    first = first_of[rows.ints("conversation")]
    p = rows.floats("propensity")[first]
    by_chance = np.any([rows.named("reason", reason) for reason in _DRAWN], axis=0)[first]
    chosen = by_chance & (p > 0) & (p < 1) & _free(rows)[first] & ~np.isnan(rows.floats("rating"))
    return rows.where(chosen), rows.ints("tier")[first][chosen], p[chosen]


def _had_begun(chance: Rows, began: Ints, p: Floats, which: str) -> Weighted | None:
    at = began == chance.ints(which)
    others = np.maximum(
        1, chance.ints("options") - 1
    )  # what is left is shared by the other tiers, as far as is known
    return of_tier(chance.floats("rating"), at, np.where(at, p, (1.0 - p) / others), *_clusters(chance))


def _estimate(found: Weighted | None) -> Estimate | None:
    return None if found is None else found.estimate()


def _difference(a: Weighted | None, b: Weighted | None) -> Estimate | None:
    return None if a is None or b is None else a.minus(b)


def _clusters(rows: Rows) -> tuple[Ints, int]:
    """Conversations numbered from 0 on, and how many there are."""
    found, numbers = np.unique(rows.ints("conversation"), return_inverse=True)
    return numbers.astype(np.int64).reshape(-1), int(found.size)


def _risk(rows: Rows) -> Risk:
    weak = rows.where(_free(rows) & (rows.ints("tier") == rows.ints("weakest")))
    ratings = weak.floats("rating")
    near = weak.floats("score") + weak.floats("spread") >= weak.floats("threshold")
    rated = ~np.isnan(ratings)
    return Risk(
        len(weak),
        int(near.sum()),
        int(rated.sum()),
        int((ratings[rated] < 0.5).sum()),
        int((~weak.bools("answered")).sum()),
    )


def _drift(rows: Rows) -> Drift:
    known = rows.where(~np.isnan(rows.floats("score")))
    firsts = known.floats("score")[_firsts(known)]
    cut = round(firsts.size * (1 - LATELY))
    return drift(firsts[:cut], firsts[cut:])


def _firsts(rows: Rows) -> Ints:
    """The first row of each conversation, in order."""
    _, firsts = np.unique(rows.ints("conversation"), return_index=True)
    return np.sort(firsts).astype(np.int64)


def _arms(rows: Rows, virtual: str) -> list[Arms]:
    """Each test's first arm, by name, against each other one."""
    tests: defaultdict[str, list[str]] = defaultdict(list)
    for number, _ in _counted(rows, "arm"):
        if number >= 0:
            experiment, _, _ = _split(rows.name("arm", number), virtual)
            tests[experiment].append(rows.name("arm", number))
    return [
        made
        for experiment, arms in sorted(tests.items())
        for other in sorted(arms)[1:]
        for made in _compared(rows, experiment, (min(arms), other), virtual)
    ]


def _split(arm: str, virtual: str) -> tuple[str, str, str]:
    """EXPERIMENT/ARM."""
    experiment, slash, name = arm.rpartition("/")
    return experiment or virtual, slash, name


_OUTCOMES = (
    ("rating", "rating", Better.HIGHER),
    ("answered", "answered", Better.HIGHER),
    ("ttft_s", "ttft_s", Better.LOWER),
    ("usd", "usd", Better.LOWER),
)


def _compared(rows: Rows, experiment: str, arms: tuple[str, str], virtual: str) -> list[Arms]:
    either = rows.where(rows.named("arm", arms[0]) | rows.named("arm", arms[1]))
    made = []
    for outcome, column, better in _OUTCOMES:
        values = either.columns[column].astype(np.float64)
        known = either.where(~np.isnan(values))
        unit = known.where(np.isin(np.arange(len(known)), _firsts(known)))
        values, first = unit.columns[column].astype(np.float64), unit.named("arm", arms[0])
        if not (first.any() and (~first).any()):
            continue
        middle = np.mean if better is Better.HIGHER else np.median
        made.append(
            Arms(
                experiment,
                (_split(arms[0], virtual)[2], _split(arms[1], virtual)[2]),
                outcome,
                (int(first.sum()), int((~first).sum())),
                (float(middle(values[first])), float(middle(values[~first]))),
                compare(values, first, better),
            )
        )
    return made


def _shadow(rows: Rows) -> Shadow | None:
    shadowed = rows.where(rows.ints("shadow") != NOBODY)
    if not len(shadowed):
        return None
    usd, then = shadowed.floats("usd"), shadowed.floats("usd_shadow")
    priced = ~(np.isnan(usd) | np.isnan(then))
    return Shadow(
        len(shadowed),
        {_tier(rows, number): count for number, count in _counted(shadowed, "shadow")},
        int((shadowed.ints("shadow") == shadowed.ints("tier")).sum()),
        int(priced.sum()),
        float(usd[priced].sum()),
        float(then[priced].sum()),
    )
