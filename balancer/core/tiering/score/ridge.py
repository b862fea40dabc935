"""Ridge regression on hashed words and shape, with a prior's score as an offset: the fit behind own labels.

    gain ~ bias + prior * z(prior) + words . x + shape . z(s) + waves . cos(z(s) Omega + phase)
    penalty: strength * (|words|^2 + |shape|^2 * columns / blend + |waves|^2 / blend)

where z standardises over the rows. The waves stand for a Gaussian kernel on shapes (random Fourier features, Rahimi and Recht
2007): a gain is no straight line in length. The prior's coefficient is fitted first and shrunk to PRIOR_EXPECTED; what it
leaves is fitted in dual form, an n x n solve, or by conjugate gradients where there are many rows. Strength and blend are
those of the least squared leave-one-out error, which the eigenvectors of the kernel give for all strengths at once (Golub,
Heath and Wahba 1979).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from balancer.core.tiering.score.features import BUCKETS, SHAPE, Features, Floats

STRENGTHS: Final = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
BLENDS: Final = (0.1, 0.3, 1.0)
"""How much a shape counts beside words, whose vectors have unit length: the mean square of its own, twice."""
DUAL_ROWS: Final = 3000
"""Up to so many rows the fit is an n x n solve."""
STEPS: Final = 150
"""Of conjugate gradients, at most."""
WAVES: Final = 384
WAVE_WIDTH: Final = 0.5
"""Of the Gaussian kernel exp(-WAVE_WIDTH * mean squared difference / 2) on standardised shapes."""
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
    waves: Floats = np.zeros(WAVES, np.float32)

    def score(self, features: Features, prior: float = 0.0) -> float:
        """The gain to expect, in the unit of the labels."""
        z = standardised(features.shape, self.mean, self.scale)
        fitted = float(self.words[features.ids] @ features.values) + float(
            self.shape @ z + self.waves @ waves(z)
        )
        return self.bias + self.prior * (prior - self.prior_mean) / self.prior_scale + fitted

    def scores(self, rows: Rows, prior: ArrayLike = 0.0) -> Doubles:
        z = standardised(rows.shape, self.mean, self.scale)
        offset = self.prior * (np.asarray(prior, np.float64) - self.prior_mean) / self.prior_scale
        fitted: Doubles = self.bias + offset + rows.words(self.words) + z @ self.shape + waves(z) @ self.waves
        return fitted


def standardised(shape: Floats, mean: Floats, scale: Floats) -> Floats:
    z: Floats = np.clip((shape - mean) / scale, -CLIP, CLIP)
    return z


def _normal(rows: int, columns: int) -> Doubles:
    """Normal deviates, the same wherever they are drawn: a multiplicative sequence (Weyl 1916) through Box and Muller's map."""
    steps = np.arange(1, rows * columns + 1, dtype=np.uint64)
    mixed = steps * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    high = ((mixed >> np.uint64(32)).astype(np.float64) + 0.5) / 2.0**32
    low = ((mixed & np.uint64(0xFFFFFFFF)).astype(np.float64) + 0.5) / 2.0**32
    drawn: Doubles = np.sqrt(-2.0 * np.log(high)) * np.cos(2.0 * np.pi * low)
    shaped: Doubles = drawn.reshape(rows, columns)
    return shaped


_OMEGA: Final = (_normal(len(SHAPE), WAVES) * np.sqrt(WAVE_WIDTH / len(SHAPE))).astype(np.float32)
_PHASE: Final = (2.0 * np.pi * ((np.arange(WAVES) * 0.6180339887498949) % 1.0)).astype(np.float32)
_WAVE_HEIGHT: Final = np.float32(np.sqrt(2.0 / WAVES))


def waves(z: Floats) -> Floats:
    """Standardised shapes, (..., len(SHAPE)), to (..., WAVES), whose inner products are about the Gaussian kernel's."""
    out: Floats = np.cos(z @ _OMEGA + _PHASE) * _WAVE_HEIGHT
    return out


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
) -> Ridge:
    """`gain` is what the stronger model adds, by row; `weights` count rows (inverse propensities); `prior` is each row's
    score by another classifier. `strength` and `blend` are chosen when not given. Up to some thousands of rows.
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
    z = standardised(rows.shape, mean, scale)
    dense = np.hstack((z / np.float32(np.sqrt(z.shape[1])), waves(z)))
    if strength is None or blend is None:
        some = np.linspace(0, len(y) - 1, min(len(y), CHOSEN_ON)).astype(np.int64)
        few = rows.take(some)
        strength, blend = _choose(kernel(few, few), dense[some], y[some], np.sqrt(w[some]), strength, blend)
    words, by_column = (_dual if len(y) <= DUAL_ROWS else gradients)(rows, dense, y, w, strength, blend)
    return Ridge(
        words.astype(np.float32),
        (by_column[: z.shape[1]] / np.sqrt(z.shape[1])).astype(np.float32),
        mean,
        scale,
        bias,
        coefficient,
        prior_mean,
        prior_scale,
        strength,
        blend,
        by_column[z.shape[1] :].astype(np.float32),
    )


def _dual(
    rows: Rows, dense: Floats, y: Doubles, w: Doubles, strength: float, blend: float
) -> tuple[Doubles, Doubles]:
    root = np.sqrt(w)
    both = root[:, None] * (kernel(rows, rows) + blend * dense.astype(np.float64) @ dense.T) * root
    dual = root * np.linalg.solve(both + strength * np.eye(len(y)), root * y)
    by_column: Doubles = blend * (dual @ dense)
    return rows.spread(dual), by_column


def gradients(
    rows: Rows, dense: Floats, y: Doubles, w: Doubles, strength: float, blend: float
) -> tuple[Doubles, Doubles]:
    """Conjugate gradients on the normal equations, for the columns of words and shape together."""
    wide = np.sqrt(blend)

    def down(weighted: Doubles) -> Doubles:
        return np.concatenate((rows.spread(weighted), wide * (weighted.astype(np.float32) @ dense)))

    def across(columns: Doubles) -> Doubles:
        return rows.words(columns[:BUCKETS]) + wide * (dense @ columns[BUCKETS:].astype(np.float32))

    found = np.zeros(BUCKETS + dense.shape[1])
    left = down(w * y)
    step, size = left, left @ left
    enough = 1e-8 * size
    for _ in range(STEPS):
        image = down(w * across(step)) + strength * step
        along = size / (step @ image)
        found = found + along * step
        left = left - along * image
        before, size = size, left @ left
        if size <= enough:
            break
        step = left + size / before * step
    return found[:BUCKETS], wide * found[BUCKETS:]


def _choose(
    words: Doubles, dense: Floats, y: Doubles, root: Doubles, strength: float | None, blend: float | None
) -> tuple[float, float]:
    shapes = dense.astype(np.float64) @ dense.T
    best = (np.inf, 0.0, 0.0)
    for one in BLENDS if blend is None else (blend,):
        values, vectors = np.linalg.eigh(root[:, None] * (words + one * shapes) * root)
        rotated = vectors.T @ (root * y)
        for other in STRENGTHS if strength is None else (strength,):
            kept = 1.0 / (np.maximum(values, 0.0) + other)
            left = vectors @ (kept * rotated) / (vectors**2 @ kept)  # leave-one-out residuals
            best = min(best, (float(left @ left), other, one))
    return best[1], best[2]
