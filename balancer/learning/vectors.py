"""Routers that read a vector of the prompt: matrix factorization, nearest neighbours, similarity-weighted ratings.

The vectors are of hashed words by default: weighted by how rare they are, projected on the directions in which the training
rows differ most (a randomized singular value decomposition: Halko, Martinsson and Tropp 2011).
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.learned import Projection, unit
from balancer.core.tiering.score.features import BUCKETS
from balancer.core.tiering.score.ridge import Rows
from balancer.learning.rows import Floats

Arrays = dict[str, NDArray[Any]]

DEPTH: Final = 64
MOST_KNOWN: Final = 4000
"""So many rows, drawn at random, are kept by the kinds that look at them when they serve."""
_OVERSAMPLED: Final = 10
_POWER_ROUNDS: Final = 2
NEIGHBOURS: Final = 40
WIDTH: Final = 0.1
BASE: Final = 10.0
"""RouteLLM's: the most similar comparison counts ten times as much as one that has nothing in common."""
SHARPNESS: Final = 4
"""The base's power. Hashed words are less alike than sentence embeddings are; set by hand, no other was tried on any rows."""
_DIMENSIONS: Final = 8
_STEPS: Final = 300
_RATE: Final = 0.05
_SHRINK: Final = 0.02


def fit_projection(rows: Rows, seed: int) -> Arrays:
    """`idf` (BUCKETS,) and `axes` (BUCKETS, d), d at most DEPTH."""
    count = len(rows)
    seen = np.bincount(rows.ids, minlength=BUCKETS)
    idf = np.where(seen > 0, np.log((count + 1) / (seen + 0.5)) / np.log(count + 2), 0.0)
    weighted = Rows(rows.ids, (rows.values * idf[rows.ids]).astype(np.float32), rows.starts, rows.shape)
    depth = min(DEPTH, max(1, count // 4))
    width = min(depth + _OVERSAMPLED, count)
    basis = np.random.default_rng(seed).standard_normal((count, width))
    for _ in range(_POWER_ROUNDS + 1):
        basis, _upper = np.linalg.qr(basis)
        spread = np.stack([weighted.spread(column) for column in basis.T], axis=1)
        basis = np.stack([weighted.words(column) for column in spread.T], axis=1)
    basis, _upper = np.linalg.qr(basis)
    small = np.stack([weighted.spread(column) for column in basis.T], axis=1)  # (BUCKETS, width): X^T Q
    left, _values, _right = np.linalg.svd(small, full_matrices=False)
    return {"idf": idf.astype(np.float32), "axes": left[:, :depth].astype(np.float16)}


def projected(rows: Rows, arrays: Arrays) -> NDArray[np.float32]:
    projection = Projection(arrays["idf"], arrays["axes"])
    return np.stack([projection.vector(rows.row(i)) for i in range(len(rows))])


def fit_near(vectors: NDArray[np.float32], quality: Floats, weight: Floats, seed: int) -> Arrays:
    index = _kept(np.flatnonzero(~np.isnan(quality).any(axis=1)), weight, seed)
    return {
        "known": vectors[index].astype(np.float16), "quality": quality[index].astype(np.float16),
        "count": np.array(NEIGHBOURS), "width": np.array(WIDTH),
    }  # fmt: skip


def fit_ratings(vectors: NDArray[np.float32], quality: Floats, weight: Floats, seed: int) -> Arrays:
    index = _kept(np.arange(len(quality)), weight, seed)
    q = quality[index]
    with np.errstate(invalid="ignore"):
        won = 0.5 + 0.5 * (q[:, :, None] - q[:, None, :])
    won[np.isnan(won)] = 0.0
    won[:, np.arange(q.shape[1]), np.arange(q.shape[1])] = 0.0
    return {
        "known": vectors[index].astype(np.float16), "wins": won.astype(np.float16), "base": np.array(BASE**SHARPNESS),
    }  # fmt: skip


def fit_factors(vectors: NDArray[np.float32], quality: Floats, weight: Floats, seed: int) -> Arrays:
    """Cross-entropy of the known qualities, by Adam (Kingma and Ba 2015) on all rows at once."""
    rng = np.random.default_rng(seed)
    known = ~np.isnan(quality)
    target = np.where(known, quality, 0.0)
    counted = known * (weight / weight.mean())[:, None]
    models = quality.shape[1]
    width = min(_DIMENSIONS, models)
    mean = np.clip(counted_mean(target, counted), 0.01, 0.99)
    values = [
        rng.standard_normal((vectors.shape[1], width)) * 0.1,
        rng.standard_normal((width, models)) * 0.5,
        np.log(mean / (1 - mean)),
    ]
    first, second = [np.zeros_like(v) for v in values], [np.zeros_like(v) for v in values]
    x = vectors.astype(np.float64)
    for step in range(1, _STEPS + 1):
        basis, by_model, bias = values
        inner = x @ basis
        p = 1 / (1 + np.exp(-np.clip(inner @ by_model + bias, -12, 12)))
        slope = counted * (p - target) / len(x)
        gradients = [
            x.T @ (slope @ by_model.T) + _SHRINK * basis / np.sqrt(len(x)),
            inner.T @ slope + _SHRINK * by_model / np.sqrt(len(x)),
            slope.sum(axis=0),
        ]
        for k, gradient in enumerate(gradients):
            first[k] = 0.9 * first[k] + 0.1 * gradient
            second[k] = 0.999 * second[k] + 0.001 * gradient**2
            values[k] = values[k] - _RATE * (first[k] / (1 - 0.9**step)) / (
                np.sqrt(second[k] / (1 - 0.999**step)) + 1e-8
            )
    return {name: v.astype(np.float32) for name, v in zip(("basis", "models", "bias"), values, strict=True)}


def counted_mean(target: Floats, counted: Floats) -> Floats:
    mean: Floats = (target * counted).sum(axis=0) / np.maximum(counted.sum(axis=0), 1e-9)
    return mean


def _kept(index: NDArray[np.intp], weight: Floats, seed: int) -> NDArray[np.intp]:
    """At most MOST_KNOWN of the rows; of a log, as often as they stand for others."""
    rng = np.random.default_rng(seed)
    if np.ptp(weight[index]) > 0:
        part = weight[index] / weight[index].sum()
        return np.sort(rng.choice(index, size=min(len(index), MOST_KNOWN), p=part))
    return np.sort(rng.permutation(index)[:MOST_KNOWN])


def normalised(vectors: NDArray[Any]) -> NDArray[np.float32]:
    return np.stack([unit(vector) for vector in vectors])
