"""From a table to a router that can serve: trained, judged, calibrated, and enabled only if the judgement allows it."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.score.features import BUCKETS, VERSION
from balancer.core.tiering.score.ridge import Rows
from balancer.learning import calibrate
from balancer.learning.evaluate import Evaluation, SplitBy, evaluate, placed, weights
from balancer.learning.files import FORMAT, Arrays, Metadata, Source, Stored, Vectors
from balancer.learning.metrics import FLOORS
from balancer.learning.prompts import Prompts
from balancer.learning.report import as_json
from balancer.learning.routers import Router
from balancer.learning.rows import Floats, Table
from balancer.learning.splits import families, print_of

GAINS: Final = 1001
HALVES: Final = 6
"""Routers of half the rows, whose disagreement is the spread."""
HALVED_ROWS: Final = 2000
SPREAD_BINS: Final = 5
LEAST_SHARED: Final = 2
SHARED_BY: Final = 200
"""A word is known that at least one row in so many has."""
ALIEN: Final = 0.25
"""A prompt is unlike all training rows when no more than this part of what rows usually share with others is left of it."""


@dataclass(frozen=True, slots=True)
class Trained:
    stored: Stored
    evaluation: Evaluation
    promises: list[calibrate.Promise]


def train(
    router: Router,
    seen: Prompts,
    table: Table,
    *,
    data: Sequence[Source],
    date: dt.date,
    split: SplitBy | None = None,
    seed: int = 0,
    usd: dict[str, float] | None = None,
    vectors: Vectors | None = None,
    force: bool = False,
) -> Trained:
    """The file's content; whoever calls writes it.

    Raises: BadData, where the rows can't be learned from or judged.
    """
    seen = placed(seen, table, split)
    evaluation = evaluate(router, seen, table, split, seed)
    fitted = router.fit(seen, table.quality, weights(table), seed)
    ranks = _ranks(evaluation.gains)
    found = calibrate.steps(ranks, evaluation.weak, evaluation.strong)
    arrays, least_seen = _served(router, seen, table, evaluation.gains, seed)
    verdict = evaluation.verdict
    metadata = Metadata(
        format=FORMAT,
        features=VERSION,
        router=router.kind,
        head=router.head,
        models=list(table.models),
        date=date.isoformat(),
        seed=seed,
        rows=len(table),
        data=list(data),
        split=evaluation.split,
        evaluation=as_json(evaluation, usd or {}, table.models),
        calibration=found,
        enabled=verdict.routable or force,
        refusal="" if verdict.routable else verdict.why,
        forced=force and not verdict.routable,
        least_seen=least_seen,
        usd=usd or {},
        vectors=vectors,
        prior=seen.prior is not None,
        notes=list(table.notes),
    )
    promises = [calibrate.promise(found, floor, evaluation.rows) for floor in FLOORS]
    return Trained(Stored(metadata, {**fitted.arrays, **arrays}), evaluation, promises)


def _ranks(gains: Floats) -> Floats:
    """Each row's score as the router will give it: the share of rows that gain less, ties half."""
    ordered = np.sort(gains)
    low, high = np.searchsorted(ordered, gains, "left"), np.searchsorted(ordered, gains, "right")
    return (low + high) / (2.0 * len(gains))


def _served(router: Router, seen: Prompts, table: Table, gains: Floats, seed: int) -> tuple[Arrays, float]:
    """What a `Learned` needs beside its head, and the share of words below which it does not know."""
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(table))[:HALVED_ROWS])
    part, quality, counted = seen.take(some), table.quality[some], weights(table)[some]
    family = families([table.prompts[i] for i in some])
    said = np.full((HALVES, len(some)), np.nan)
    covered = np.full((HALVES, len(some)), np.nan)
    by_chance = []
    for k in range(HALVES):
        held = (rng.permutation(int(family.max()) + 1) % 2 == 0)[family]
        taught, test = np.flatnonzero(~held), np.flatnonzero(held)
        if np.isnan(quality[taught]).all(axis=0).any():
            continue  # a half that knows nothing of a model
        half, rest = part.take(taught), part.take(test)
        known = _common(half.rows)
        by_chance.append(known.mean())
        said[k, test] = router.fit(half, quality[taught], counted[taught], seed).gains(rest)
        squares = Rows(rest.rows.ids, rest.rows.values**2, rest.rows.starts, rest.rows.shape)
        covered[k, test] = squares.words(known.astype(np.float32))
    spreads = _spreads(said, covered, gains)
    chance = float(np.mean(by_chance)) if by_chance else 0.0
    usual = float(np.nanmedian(covered)) if by_chance else 0.0
    arrays: Arrays = {
        "gains": np.quantile(gains, np.linspace(0, 1, min(GAINS, len(gains)))).astype(np.float32),
        "seen": np.packbits(_common(seen.rows)),
        "spreads": spreads.astype(np.float32),
        "trained": np.unique(np.array([print_of(text) for text in table.prompts], dtype=np.uint64)),
    }
    return arrays, chance + ALIEN * max(0.0, usual - chance)


def _common(rows: Rows) -> NDArray[np.bool_]:
    """The buckets of words that several rows share: among all ever seen, words of another language often are, by chance."""
    return np.bincount(rows.ids, minlength=BUCKETS) >= max(LEAST_SHARED, len(rows) // SHARED_BY)


def _spreads(said: Floats, covered: Floats, gains: Floats) -> Floats:
    """(2, bins): the share of words seen, rising, and the median disagreement there, as a share of the training rows."""
    often = (~np.isnan(said)).sum(axis=0) >= 2
    if not often.any():
        return np.array([[0.0], [0.5]])
    ordered = np.sort(gains)
    ranks = np.interp(said[:, often], ordered, np.linspace(0, 1, len(ordered)))
    apart = np.nanstd(ranks, axis=0, ddof=1)
    share = np.nanmean(covered[:, often], axis=0)
    bins = [part for part in np.array_split(np.argsort(share), SPREAD_BINS) if len(part)]
    return np.array([[share[part].mean() for part in bins], [np.median(apart[part]) for part in bins]])
