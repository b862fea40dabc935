"""The tier of one request, among those that may serve it. Pure: what is remembered is handed in.

For each step from a tier to the next stronger one:

    value  = score,                                   or the gain in expected quality, from a classifier that tells it per model
    band   = the score's spread
    worth  = value + clip(threshold * (mean - more) / size, -band, band)         if value is within the band of the threshold
    up     : worth is beyond the cut (share.py)

more: what the stronger tier costs more now, waiting included, in USD (exchange.py); mean and size: that of late, and how large it
usually is. So far from the threshold quality decides, and within what the classifier does not know, latency, warm caches and
money do: a busy stronger tier hands down the requests that are least sure to need it, an idle one takes them up, and each
long answer or cold history has to be worth it. The cut is a quantile of the same worths, so the share stays.

A conversation stays where it is as long as its turns are within the band. It goes up beyond that, or because it goes badly
(sticky.py), and down only below it, and only if the turn costs less where it goes, with the history that is computed there again.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from balancer.core.tiering.exchange import Bid, Exchange, costs
from balancer.core.tiering.share import Cut
from balancer.core.tiering.sticky import Kept, trouble
from balancer.core.tiering.types import Plan, Score, Sort, Tier


class Step(NamedTuple):
    """What is known of the step into the tier of this rank. `worth` is None where there is no score."""

    rank: int
    threshold: float
    chance: float
    worth: float | None = None
    more: float | None = None
    in_band: bool = False


class Pick(NamedTuple):
    """The place of the tier among the options, and why. `wanted` is what the score says, where something else decided."""

    option: int
    reason: str
    propensity: float = 1.0
    threshold: float | None = None
    steps: tuple[Step, ...] = ()
    wanted: int | None = None
    saved: float | None = None


class Rules(Protocol):
    """What a virtual model remembers."""

    def cut(self, rank: int) -> Cut: ...
    def exchange(self, rank: int) -> Exchange: ...


def rank_of(plan: Plan, option: int) -> int:
    """How strong an option is: its place in the virtual model, or among the options, if it is a guest there."""
    name, ranks = plan.options[option].name, plan.virtual.tiers
    return ranks.index(name) if name in ranks else option


def pick(plan: Plan, bids: Sequence[Bid | None], rules: Rules, kept: Kept | None, now: float) -> Pick:
    """One of `plan.options`. `bids` are what they would do, None where one cannot serve it now, or there was nothing to ask."""
    options = plan.options
    steps = _steps(plan, bids, rules, now)
    if len(options) == 1:
        return Pick(0, plan.forced or ("rule" if plan.rule else "asked"), steps=steps)
    asked = _asked(plan, bids)
    if asked is not None:
        return Pick(asked, plan.forced or "asked", steps=steps)
    default = next((place for place, tier in enumerate(options) if tier.name == plan.virtual.default), 0)
    held = None if kept is None else _place(options, kept.tier)
    if plan.score is None or not plan.score.known:
        wanted = Pick(default, "default", steps=steps)
        wanted = wanted if held is None else wanted._replace(option=held, reason="sticky")
    else:
        wanted = _by_score(plan, steps)
    if plan.virtual.shadow:
        return Pick(default, "shadow", 1.0, wanted.threshold, steps, wanted.option)
    if kept is None:
        return _explored(plan, wanted)
    wanted = wanted._replace(propensity=kept.propensity)
    return wanted if held is None else _of_conversation(plan, wanted, bids, kept, held)


def _steps(plan: Plan, bids: Sequence[Bid | None], rules: Rules, now: float) -> tuple[Step, ...]:
    steps = []
    score = plan.score
    for option in range(1, len(plan.options)):
        rank = rank_of(plan, option)
        below = _best_below(score, plan.options, option)
        more = _more(bids[below], bids[option])
        cut = rules.cut(rank)
        threshold = cut.threshold(now)
        value = None if score is None or not score.known else _value(score, plan.options, below, option)
        if score is None or value is None:
            steps.append(Step(rank, threshold, 0.0, None, more))
            continue
        in_band = abs(value - threshold) <= score.spread
        worth = value
        if in_band and more is not None:
            worth += rules.exchange(rank).shift(more, threshold, score.spread)
        steps.append(Step(rank, threshold, cut.chance(worth, now), worth, more, in_band))
    return tuple(steps)


def _more(lower: Bid | None, upper: Bid | None) -> float | None:
    if lower is None or upper is None:
        return None
    below, above = costs([lower, upper])
    return above - below


def _value(score: Score, options: Sequence[Tier], below: int, option: int) -> float:
    """What is cut: the gain over the best of the weaker ones, where the classifier tells it."""
    qualities = dict(score.qualities)
    upper, lower = qualities.get(options[option].model), qualities.get(options[below].model)
    return score.value if upper is None or lower is None else max(0.0, upper - lower)


def _best_below(score: Score | None, options: Sequence[Tier], option: int) -> int:
    """The weaker tier that this one has to be better than."""
    if score is None or not score.qualities:
        return option - 1
    qualities = dict(score.qualities)
    return max(range(option), key=lambda place: (qualities.get(options[place].model, 0.0), place))


def _by_score(plan: Plan, steps: Sequence[Step]) -> Pick:
    """The strongest tier whose step is passed. One draw is for all steps, and what is drawn has its probability."""
    explore = plan.virtual.explore
    draw = plan.draw / explore if plan.draw < explore else (plan.draw - explore) / (1 - explore)
    level = 0
    for place, step in enumerate(steps, 1):
        if draw < step.chance or step.chance >= 1:  # nobody drew where the draw is 1
            level = place
    decided = steps[level - 1] if level else steps[0]
    if level < len(steps) and steps[level].in_band:
        decided = steps[level]
    reason = "band" if decided.in_band else "score"
    return Pick(level, reason, _chances(steps)[level], decided.threshold, tuple(steps))


def _chances(steps: Sequence[Step]) -> list[float]:
    """The probability of each level: that of its step, less that of any stronger one."""
    found, above = [], 0.0
    for step in reversed(steps):
        found.append(max(0.0, step.chance - above))
        above = max(above, step.chance)
    return [1.0 - above, *reversed(found)]


def _explored(plan: Plan, wanted: Pick) -> Pick:
    """With the virtual model's probability any of the options, each as likely; by conversation, as the draw is."""
    share, count = plan.virtual.explore, len(plan.options)
    if not share or wanted.reason not in {"score", "band"}:
        return wanted
    chances = _chances(wanted.steps)
    if plan.draw < share:
        option = min(int(plan.draw / share * count), count - 1)
        wanted = wanted._replace(option=option, reason="explore", wanted=wanted.option)
    return wanted._replace(propensity=share / count + (1 - share) * chances[wanted.option])


def _of_conversation(plan: Plan, wanted: Pick, bids: Sequence[Bid | None], kept: Kept, held: int) -> Pick:
    """What its history says of it."""
    least = _place(plan.options, kept.least) if kept.least else None
    if trouble(plan, kept) and held + 1 < len(plan.options):
        up = max(held + 1, wanted.option)
        return wanted._replace(option=up, reason="escalated", wanted=wanted.option)
    stays = wanted._replace(option=held, reason="sticky", wanted=wanted.option)
    if wanted.option == held:
        return wanted
    if wanted.reason == "band":
        return stays
    if wanted.option > held:
        return wanted
    if least is not None and wanted.option < least:
        return stays
    lower, upper = bids[wanted.option], bids[held]
    saved = _more(lower, upper)
    if saved is None or saved <= 0:
        return stays
    return wanted._replace(saved=saved)


def _asked(plan: Plan, bids: Sequence[Bid | None]) -> int | None:
    """What the request itself says of who should serve it, of those that can."""
    ask, options = plan.ask, plan.options
    for name in ask.order:
        for place, tier in enumerate(options):
            if name in {tier.name, tier.model}:
                return place
    if ask.sort is None and not plan.forced:
        return None
    found = [(place, bid) for place, bid in enumerate(bids) if bid is not None]
    if ask.sort is Sort.PRICE:
        priced = [(bid.offer.usd, place) for place, bid in found if bid.offer.usd is not None]
        return min(priced)[1] if priced else 0
    timed = [(bid.offer.cost_s, place) for place, bid in found if bid.offer.cost_s is not None]
    return min(timed)[1] if timed else 0


def _place(options: Sequence[Tier], name: str) -> int | None:
    return next((place for place, tier in enumerate(options) if tier.name == name), None)
