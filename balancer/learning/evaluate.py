"""What a router is worth on rows that it has not seen, beside who knows nothing, who counts letters, and who knows all.

By default one domain is left out at a time: that is what new traffic will be. Rows from a log tell of one model only; for them
the other's quality is what the router expected, and what was seen corrects it in proportion to how rarely it is seen (doubly
robust: Dudik, Langford and Li 2011): q_m + (served = m) * (ok - q_m) / p.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np

from balancer.learning.metrics import Curve, Interval, Measures, advantage, curve, measure, oracle, resamples
from balancer.learning.prompts import Prompts
from balancer.learning.routers import Router
from balancer.learning.rows import BadData, Floats, Table, means
from balancer.learning.splits import FOLDS, LEAST_DOMAINS, Split, domains, families, folds

DRAWS: Final = 400
LEAST_ROWS: Final = 50
MOST_PARTS: Final = 10
"""More domains are left out several at a time: ten routers are trained, not fifty."""


class SplitBy(StrEnum):
    DOMAINS = "domains"
    FOLDS = "folds"


@dataclass(frozen=True, slots=True)
class Verdict:
    routable: bool
    why: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`qualities` (n, m) are what the router said of each row without having seen it, `weak` and `strong` (n,) what was true, or
    for rows from a log the estimate of it. `over_length`: by how much its APGR is above that of prompt length.
    """

    router: str
    split: str
    measures: Measures
    length: Measures
    over_length: Interval
    chance: Curve
    best: Curve
    verdict: Verdict
    qualities: Floats
    weak: Floats
    strong: Floats

    @property
    def rows(self) -> int:
        return len(self.weak)

    @property
    def gains(self) -> Floats:
        return self.qualities[:, -1] - self.qualities[:, 0]


def weights(table: Table) -> Floats:
    """How many requests each row stands for, (n,)."""
    return np.where(table.logged, 1.0 / table.p, 1.0)


def _by_domains(table: Table, by: SplitBy | None) -> bool:
    """Without `by`: if the rows name enough of them."""
    return by is SplitBy.DOMAINS or (by is None and len(set(table.domains)) >= LEAST_DOMAINS)


def placed(seen: Prompts, table: Table, by: SplitBy | None) -> Prompts:
    """With the rows' domains, where requests of others are to come."""
    if not _by_domains(table, by):
        return seen
    return replace(seen, domains=np.unique(np.array(table.domains), return_inverse=True)[1])


def splits(table: Table, by: SplitBy | None, seed: int) -> tuple[str, list[Split]]:
    """The splits, and what they are called."""
    named = len(set(table.domains))
    if _by_domains(table, by):
        groups = min(named, MOST_PARTS)
        name = "leave one domain out" if groups == named else f"leave domains out, {groups} groups of {named}"
        return name, list(domains(table.prompts, table.domains, MOST_PARTS, seed))
    return f"{FOLDS} folds", list(folds(table.prompts, FOLDS, seed))


def out_of_fold(
    router: Router, seen: Prompts, table: Table, parts: list[Split], seed: int
) -> Iterator[tuple[Split, Floats]]:
    """For each split, what the router that learned from its first rows says of its second, (rows, m): on one level, which each
    router has from its own rows. Else a domain of much to gain is put last, for where it is left out the others' mean is low.
    """
    counted = weights(table)
    level = means(table.quality, counted)
    for part in parts:
        taught, held = part
        if not len(taught):
            raise BadData("a split leaves no row to learn from: prompts of its domains are the same")
        fitted = router.fit(seen.take(taught), table.quality[taught], counted[taught], seed)
        own = means(table.quality[taught], counted[taught])
        yield part, fitted.qualities(seen.take(held)) + np.nan_to_num(level - own)


def evaluate(
    router: Router, seen: Prompts, table: Table, by: SplitBy | None = None, seed: int = 0, draws: int = DRAWS
) -> Evaluation:
    """Raises: BadData, where the rows are too few to judge."""
    if len(table) < LEAST_ROWS:
        raise BadData(f"{len(table)} rows can't judge a router: expected at least {LEAST_ROWS}")
    name, parts = splits(table, by, seed)
    seen = placed(seen, table, by)
    qualities = np.full(table.quality.shape, np.nan)
    for (_, held), said in out_of_fold(router, seen, table, parts, seed):
        qualities[held] = said
    return judge(router.kind, name, seen, table, qualities, seed, draws)


def judge(
    name: str, split: str, seen: Prompts, table: Table, qualities: Floats, seed: int = 0, draws: int = DRAWS
) -> Evaluation:
    """Of what a router said of rows that it has not learned from."""
    true = completed(table, qualities)
    weak, strong = true[:, 0], true[:, -1]
    if np.isnan(weak).any() or np.isnan(strong).any():
        usable = ~np.isnan(weak) & ~np.isnan(strong)
        index = np.flatnonzero(usable)
        seen, table, qualities, weak, strong = (
            seen.take(index),
            table.take(index),
            qualities[index],
            weak[index],
            strong[index],
        )
    if len(weak) < LEAST_ROWS:
        raise BadData(
            f"{len(weak)} rows compare {table.models[0]} and {table.models[-1]}: expected at least {LEAST_ROWS}"
        )
    gains = qualities[:, -1] - qualities[:, 0]
    length = seen.rows.shape[:, 0].astype(np.float64)
    drawn = resamples(len(weak), draws, seed, families(table.prompts))
    measures = measure(gains, weak, strong, drawn)
    over = advantage(gains, length, weak, strong, drawn)
    chance = curve(np.zeros(len(weak)), weak, strong)
    return Evaluation(
        name, split, measures, measure(length, weak, strong, drawn), over, chance, oracle(weak, strong),
        verdict(measures.apgr, over, chance, strong - weak, (table.models[0], table.models[-1]), split),
        qualities, weak, strong,
    )  # fmt: skip


def completed(table: Table, qualities: Floats) -> Floats:
    """Qualities (n, m) with those of a log's other models estimated; NaN stays where a battle did not have the model."""
    known = ~np.isnan(table.quality)
    corrected = qualities + np.where(
        known, (np.where(known, table.quality, 0.0) - qualities) / table.p[:, None], 0.0
    )
    return np.where(table.logged[:, None], corrected, table.quality)


def verdict(
    apgr: Interval, over: Interval, chance: Curve, gain: Floats, pair: tuple[str, str], split: str
) -> Verdict:
    """Whether to route at all. Refuses unless the lower bounds beat chance and prompt length."""
    weak, strong = pair
    error = float(gain.std(ddof=1)) / len(gain) ** 0.5
    if chance.gap - 1.96 * error <= 0:
        return Verdict(
            False,
            f"{strong} is not shown to be better than {weak}, so all can go to {weak}: it gains"
            f" {chance.gap:.3f} ± {1.96 * error:.3f}",
        )
    refused = f"this pair can't be routed from the prompt, as far as these rows tell ({split}): "
    by = f"{over.value:+.3f} [{over.low:+.3f}, {over.high:+.3f}]"
    if not apgr.low > 0.5:
        return Verdict(False, refused + f"APGR {apgr} is not above chance, 0.5")
    if not over.low > 0:
        return Verdict(
            False,
            refused + f"APGR {apgr} is not above prompt length's: {by}",
        )
    return Verdict(
        True,
        f"APGR {apgr} is above chance, and by {by} above prompt length's",
    )
