"""Ridge regression on hashed words and shape, with a prior's score as an offset: the fit behind own labels.

    gain ~ bias + prior * z(prior) + words . x + shape . z(s),     penalty strength * (|words|^2 + |shape|^2 / blend)

where z standardises over the rows. The prior's coefficient is fitted first and shrunk to PRIOR_EXPECTED; what it leaves is
fitted in dual form, an n x n solve. Strength and blend are those of the least squared leave-one-out error, which the
eigenvectors of the kernel give for all strengths at once (Golub, Heath and Wahba 1979); or, where rows have domains, of the
least error with a fold of domains left out.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from balancer.core.tiering.score.features import BUCKETS, SHAPE, Features, Floats

STRENGTHS: Final = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
FOLDS: Final = 5
"""Of domains. Rows of a domain that is known ask for weaker penalties than those of one that is not."""
BLENDS: Final = (0.1, 0.5, 2.0)
"""How much a shape counts beside words, whose vectors have unit length; a shape has, on average, the length `blend`."""
CHOSEN_ON: Final = 600
"""So many rows, evenly spaced, choose strength and blend."""
PRIOR_EXPECTED: Final = 0.05
PRIOR_ROWS: Final = 20.0
"""The prior's coefficient is shrunk to what is expected as if that many rows had said so."""
CLIP: Final = 4.0
"""Standard deviations beyond which a shape tells no more."""

Doubles = NDArray[np.float64]


class Rows(NamedTuple):
    """Features of many prompts: row i has `ids[starts[i]:starts[i + 1]]`. `shape` is (rows, len(SHAPE))."""

    ids: NDArray[np.int64]
    values: Floats
    starts: NDArray[np.int64]
    shape: Floats

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "Rows":
        return stack([self.row(i) for i in rows])

    def row(self, i: int) -> Features:
        here = slice(self.starts[i], self.starts[i + 1])
        return Features(self.ids[here], self.values[here], self.shape[i])

    def words(self, weights: NDArray[np.floating]) -> Doubles:
        """Each row's inner product with `weights`, by bucket."""
        sums = np.concatenate(([0.0], np.cumsum(self.values * weights[self.ids], dtype=np.float64)))
        return sums[self.starts[1:]] - sums[self.starts[:-1]]

    def spread(self, by_row: Doubles) -> Doubles:
        """The transpose of `words`: by bucket, the sum of each row's values times its number."""
        sums: Doubles = np.bincount(
            self.ids, self.values * np.repeat(by_row, np.diff(self.starts)), BUCKETS
        ).astype(np.float64)
        return sums


def stack(features: Sequence[Features]) -> Rows:
    starts = np.concatenate(([0], np.cumsum([len(f.ids) for f in features], dtype=np.int64)))
    if not features:
        return Rows(
            np.zeros(0, np.int64), np.zeros(0, np.float32), starts, np.zeros((0, len(SHAPE)), np.float32)
        )
    return Rows(
        np.concatenate([f.ids for f in features]),
        np.concatenate([f.values for f in features]),
        starts,
        np.stack([f.shape for f in features]),
    )


class Ridge(NamedTuple):
    """What was fitted. `mean` and `scale` standardise a shape, `prior_mean` and `prior_scale` the prior's score."""

    words: Floats
    shape: Floats
    mean: Floats
    scale: Floats
    bias: float = 0.0
    prior: float = 0.0
    prior_mean: float = 0.0
    prior_scale: float = 1.0
    strength: float = 0.0
    blend: float = 0.0

    def score(self, features: Features, prior: float = 0.0) -> float:
        """The gain to expect, in the unit of the labels."""
        shape = np.clip((features.shape - self.mean) / self.scale, -CLIP, CLIP)
        fitted = float(self.words[features.ids] @ features.values) + float(self.shape @ shape)
        return self.bias + self.prior * (prior - self.prior_mean) / self.prior_scale + fitted

    def scores(self, rows: Rows, prior: ArrayLike = 0.0) -> Doubles:
        shape = np.clip((rows.shape - self.mean) / self.scale, -CLIP, CLIP).astype(np.float64)
        offset = self.prior * (np.asarray(prior, np.float64) - self.prior_mean) / self.prior_scale
        fitted: Doubles = self.bias + offset + rows.words(self.words) + shape @ self.shape
        return fitted


def kernel(rows: Rows, others: Rows) -> Doubles:
    """Inner products of hashed words, (rows, others)."""
    columns = np.zeros((BUCKETS, 1))
    out = np.empty((len(rows), len(others)))
    for j in range(len(others)):
        one = others.row(j)
        columns[one.ids, 0] = one.values
        out[:, j] = rows.words(columns[:, 0])
        columns[one.ids, 0] = 0.0
    return out


def fit(
    rows: Rows,
    gain: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    prior: ArrayLike | None = None,
    strength: float | None = None,
    blend: float | None = None,
    domains: ArrayLike | None = None,
) -> Ridge:
    """`gain` is what the stronger model adds, by row; `weights` count rows (inverse propensities); `prior` is each row's
    score by another classifier. `strength` and `blend` are chosen when not given, `domains` are numbers of each row's. Up to
    some thousands of rows.
    """
    y = np.asarray(gain, np.float64)
    w = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    if not len(rows) or len(y) != len(rows) or len(w) != len(rows):
        raise ValueError(
            f"rows, gain, weights: expected as many of each, and some, got {len(rows)}, {len(y)}, {len(w)}"
        )
    w = w / w.mean()
    bias = float(w @ y / w.sum())
    y = y - bias
    mean = rows.shape.mean(0)
    scale = rows.shape.std(0) + np.float32(1e-6)
    coefficient, prior_mean, prior_scale = 0.0, 0.0, 1.0
    if prior is not None:
        p = np.asarray(prior, np.float64)
        prior_mean, prior_scale = float(p.mean()), float(p.std()) or 1.0
        p = (p - prior_mean) / prior_scale
        coefficient = float((w * p @ y + PRIOR_ROWS * PRIOR_EXPECTED) / (w * p @ p + PRIOR_ROWS))
        y = y - coefficient * p
    z = np.clip((rows.shape - mean) / scale, -CLIP, CLIP).astype(np.float64)
    root = np.sqrt(w)
    words = kernel(rows, rows)
    shapes = z @ z.T / z.shape[1]
    if strength is None or blend is None:
        folds = None if domains is None else _folds(np.asarray(domains))
        strength, blend = _choose(words, shapes, y, root, strength, blend, folds)
    both = root[:, None] * (words + blend * shapes) * root
    dual = root * np.linalg.solve(both + strength * np.eye(len(y)), root * y)
    return Ridge(
        rows.spread(dual).astype(np.float32),
        (blend / z.shape[1] * (dual @ z)).astype(np.float32),
        mean,
        scale,
        bias,
        coefficient,
        prior_mean,
        prior_scale,
        strength,
        blend,
    )


def _folds(domains: NDArray[np.intp]) -> NDArray[np.intp]:
    """Of each row: the domain with the most rows goes first, each to the fold with the fewest."""
    names, number, counts = np.unique(domains, return_inverse=True, return_counts=True)
    fold, filled = np.zeros(len(names), np.intp), np.zeros(FOLDS)
    for name in np.argsort(-counts, kind="stable"):
        fold[name] = np.argmin(filled)
        filled[fold[name]] += counts[name]
    return fold[number]


def _choose(
    words: Doubles,
    shapes: Doubles,
    y: Doubles,
    root: Doubles,
    strength: float | None,
    blend: float | None,
    folds: NDArray[np.intp] | None,
) -> tuple[float, float]:
    some = np.linspace(0, len(y) - 1, min(len(y), CHOSEN_ON)).astype(np.int64)
    words, shapes, y, root = words[np.ix_(some, some)], shapes[np.ix_(some, some)], y[some], root[some]
    parts = [] if folds is None else [np.flatnonzero(folds[some] == fold) for fold in np.unique(folds[some])]
    best = (np.inf, 0.0, 0.0)
    for one in BLENDS if blend is None else (blend,):
        values, vectors = np.linalg.eigh(root[:, None] * (words + one * shapes) * root)
        rotated = vectors.T @ (root * y)
        for other in STRENGTHS if strength is None else (strength,):
            kept = 1.0 / (np.maximum(values, 0.0) + other)
            left = vectors @ (kept * rotated)
            if len(parts) > 1:
                for part in parts:  # residuals of what is fitted without the part
                    left[part] = np.linalg.solve((vectors[part] * kept) @ vectors[part].T, left[part])
            else:
                left /= vectors**2 @ kept  # and of each row, without it
            best = min(best, (float(left @ left), other, one))
    return best[1], best[2]
