"""Boosted trees on a prompt's shape: what of a benefit bends, jumps, or holds only where two things meet.

Every tree asks the same few questions of all prompts (oblivious: Kohavi 1994; boosted: Friedman 2001), so that it is a table, and
all trees are read at once. One tree serves all models: it is cut where their qualities, together, differ the most. With some
thousands of rows that gave more on domains that were left out than the same trees for the gain alone.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from balancer.learning.rows import Floats

TREES: Final = 150
DEPTH: Final = 4
RATE: Final = 0.05
BINS: Final = 32
"""A column is cut only between its quantiles."""
HELD_BACK: Final = 20.0
"""Leaves are shrunk as if they had so many more rows, of which none tells anything."""
OF_ROWS: Final = 0.8
OF_COLUMNS: Final = 0.5
"""What each tree sees, drawn anew."""

_BITS: Final = 1 << np.arange(DEPTH)[::-1]

Arrays = dict[str, NDArray[Any]]


def no_trees(models: int) -> Arrays:
    return {
        "columns": np.zeros((0, DEPTH), np.int16),
        "cuts": np.zeros((0, DEPTH), np.float32),
        "leaves": np.zeros((0, 1 << DEPTH, models), np.float32),
    }


def fit_trees(shape: NDArray[np.floating], quality: Floats, weight: Floats, seed: int) -> Arrays:
    """`shape` (n, columns); `quality` (n, m), NaN where not known, less its mean; `weight` (n,) counts rows."""
    rng = np.random.default_rng(seed)
    edges = np.quantile(shape, np.linspace(0, 1, BINS + 1)[1:-1], axis=0).astype(np.float32)
    binned = np.stack(
        [np.searchsorted(edge, column) for edge, column in zip(edges.T, shape.T, strict=True)], axis=1
    )
    known = ~np.isnan(quality)
    counted, left = np.where(known, (weight / weight.mean())[:, None], 0.0), np.where(known, quality, 0.0)
    columns, cuts, leaves = [], [], []
    for _ in range(TREES):
        rows = np.flatnonzero(rng.random(len(shape)) < OF_ROWS)
        some = np.sort(rng.permutation(shape.shape[1])[: max(1, int(OF_COLUMNS * shape.shape[1]))])
        asked, at = _questions(binned[np.ix_(rows, some)], counted[rows], left[rows])
        leaf = _leaves(binned[:, some[asked]], at)
        leaves.append(RATE * _means(leaf[rows], counted[rows], left[rows]))
        columns.append(some[asked])
        cuts.append(edges[at, some[asked]])
        left = left - leaves[-1][leaf]
    return {
        "columns": np.array(columns, np.int16),
        "cuts": np.array(cuts, np.float32),
        "leaves": np.array(leaves, np.float32),
    }


def said(trees: Arrays, shape: NDArray[np.floating]) -> Floats:
    """What they add for each row, (n, m), as a `Boosted` head."""
    total = np.zeros((len(shape), trees["leaves"].shape[2]))
    for columns, cuts, leaves in zip(trees["columns"], trees["cuts"], trees["leaves"], strict=True):
        total += leaves[(shape[:, columns] > cuts) @ _BITS]
    return total


def _questions(
    binned: NDArray[np.intp], counted: Floats, left: Floats
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(DEPTH,) columns, and the bins up to which they are answered no: each the one that then explains most of what is left."""
    rows, columns = binned.shape
    places = binned + np.arange(columns) * BINS
    sums = [np.repeat(counted[:, m] * left[:, m], columns) for m in range(left.shape[1])]
    counts = [np.repeat(counted[:, m], columns) for m in range(left.shape[1])]
    leaf = np.zeros(rows, np.intp)
    asked, at = np.zeros(DEPTH, np.intp), np.zeros(DEPTH, np.intp)
    for depth in range(DEPTH):
        flat = (places + leaf[:, None] * (columns * BINS)).ravel()
        form = (1 << depth, columns, BINS)
        explained = np.zeros((columns, BINS - 1))
        for total, count in zip(sums, counts, strict=True):
            below = np.bincount(flat, total, int(np.prod(form))).reshape(form).cumsum(axis=2)
            many = np.bincount(flat, count, int(np.prod(form))).reshape(form).cumsum(axis=2)
            above, others = below[:, :, -1:] - below, many[:, :, -1:] - many
            explained += (below**2 / (many + HELD_BACK) + above**2 / (others + HELD_BACK)).sum(axis=0)[:, :-1]
        asked[depth], at[depth] = np.unravel_index(int(np.argmax(explained)), explained.shape)
        leaf = 2 * leaf + (binned[:, asked[depth]] > at[depth])
    return asked, at


def _leaves(binned: NDArray[np.intp], at: NDArray[np.intp]) -> NDArray[np.intp]:
    """Which leaf each row is in, of its answers' bins (n, DEPTH)."""
    found: NDArray[np.intp] = (binned > at) @ _BITS
    return found


def _means(leaf: NDArray[np.intp], counted: Floats, left: Floats) -> Floats:
    sums = [np.bincount(leaf, total, 1 << DEPTH) for total in (counted * left).T]
    counts = [np.bincount(leaf, count, 1 << DEPTH) for count in counted.T]
    return np.stack(sums, axis=1) / (np.stack(counts, axis=1) + HELD_BACK)
