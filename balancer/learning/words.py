"""Linear routers on hashed words and shape: least squares, or logistic.

Each model's quality has weights of its own; strength and blend of the penalty are those that `score.ridge` chooses for the
gain, by leave-one-out, or on domains that are left out. The normal equations are solved by conjugate gradients (Hestenes and
Stiefel 1952) on the sparse rows, so that time and memory grow with the text and not with the square of the rows; logistic
weights by Newton's steps around it.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.learned import standard
from balancer.core.tiering.score import ridge
from balancer.core.tiering.score.features import BUCKETS, SHAPE
from balancer.learning.prompts import Prompts
from balancer.learning.rows import BadData, Floats

CHOSEN_ON: Final = 1000
LEAST_SCALE: Final = 0.05
PRIOR_ROWS: Final = 20.0
PRIOR_GAIN: Final = 0.05
"""What a standard deviation of the prior is expected to gain, as if PRIOR_ROWS rows had said so: see `score.ridge`."""
_ROUNDS: Final = 60
_TOLERANCE: Final = 1e-5
_NEWTON_STEPS: Final = 8
_LOGISTIC_CURVATURE: Final = 0.25
"""At p = 1/2 the logistic loss curves a quarter as much as the squared one: so much less penalty means the same."""


def fit_words(
    seen: Prompts, quality: Floats, weight: Floats, seed: int, *, logistic: bool
) -> dict[str, NDArray[Any]]:
    """The arrays of a `Words` head. `quality` (n, m) may hold NaN, `weight` (n,) counts rows."""
    known = ~np.isnan(quality)
    if not known.any(axis=0).all():
        raise BadData("a model has no row to learn from")
    strength, blend = _chosen(seen, quality, weight, seed)
    shape = seen.rows.shape
    centre, scale = shape.mean(axis=0), np.maximum(shape.std(axis=0), LEAST_SCALE)
    shapes = standard(shape, centre, scale).astype(np.float64)
    models = quality.shape[1]
    words, by_shape, bias, prior = (
        np.zeros((BUCKETS, models)), np.zeros((len(SHAPE), models)), np.zeros(models), np.zeros(models),
    )  # fmt: skip
    for m in range(models):
        index = np.flatnonzero(known[:, m])
        here = seen if len(index) == len(seen) else seen.take(index)
        y, w = quality[index, m], weight[index] / weight[index].mean()
        if here.prior is not None and not logistic:
            expected = PRIOR_GAIN * (m / (models - 1) - 0.5)
            prior[m] = _on_prior(here.prior, y, w, expected)
            y = y - prior[m] * (here.prior - 0.5)
        design = Design(here.rows, shapes[index] * np.sqrt(blend))
        theta = _logistic(design, y, w, strength) if logistic else least_squares(design, y, w, strength)
        words[:, m], bias[m] = theta[:BUCKETS], theta[-1]
        by_shape[:, m] = theta[BUCKETS:-1] * np.sqrt(blend)
    return {
        "words": words.astype(np.float16), "shape": by_shape.astype(np.float32), "bias": bias.astype(np.float32),
        "prior": prior.astype(np.float32), "centre": centre.astype(np.float32), "scale": scale.astype(np.float32),
        "logistic": np.array(int(logistic), dtype=np.uint8),
    }  # fmt: skip


def _chosen(seen: Prompts, quality: Floats, weight: Floats, seed: int) -> tuple[float, float]:
    gain = quality[:, -1] - quality[:, 0]
    index = np.flatnonzero(~np.isnan(gain))
    if not len(index):  # a log: no row has both, and what a row says of its own model stands in
        gain = np.nanmean(quality, axis=1)
        index = np.arange(len(gain))
    index = np.random.default_rng(seed).permutation(index)[:CHOSEN_ON]
    domains = None if seen.domains is None else seen.domains[index]
    fitted = ridge.fit(seen.rows.take(index), gain[index], weights=weight[index], domains=domains)
    return fitted.strength, fitted.blend


def _on_prior(prior: Floats, y: Floats, w: Floats, expected: float) -> float:
    deviation = float(prior.std()) or 1.0
    z = (prior - 0.5) / deviation
    slope = float((w * z) @ (y - (w @ y) / w.sum()) + PRIOR_ROWS * expected) / float((w * z) @ z + PRIOR_ROWS)
    return slope / deviation


class Design:
    """Rows of hashed words, scaled shape and a constant, as a linear map: never written out."""

    def __init__(self, rows: ridge.Rows, shapes: Floats) -> None:
        self._rows = rows
        self._shapes = shapes
        self.width = BUCKETS + shapes.shape[1] + 1

    def times(self, theta: Floats) -> Floats:
        raw: Floats = self._rows.words(theta[:BUCKETS]) + self._shapes @ theta[BUCKETS:-1] + theta[-1]
        return raw

    def transposed(self, by_row: Floats) -> Floats:
        return np.concatenate((self._rows.spread(by_row), by_row @ self._shapes, [by_row.sum()]))


def least_squares(
    design: Design, y: Floats, w: Floats, strength: float, start: Floats | None = None
) -> Floats:
    penalty = np.full(design.width, strength)
    penalty[-1] = 0.0  # the constant is free

    def apply(theta: Floats) -> Floats:
        return design.transposed(w * design.times(theta)) + penalty * theta

    diagonal = penalty.copy()
    diagonal[-1] = w.sum()
    return _conjugate_gradients(apply, design.transposed(w * y), 1.0 / diagonal, start)


def _logistic(design: Design, y: Floats, w: Floats, strength: float) -> Floats:
    theta = np.zeros(design.width)
    mean = min(max(float(w @ y / w.sum()), 0.01), 0.99)
    theta[-1] = np.log(mean / (1 - mean))
    for _ in range(_NEWTON_STEPS):
        raw = np.clip(design.times(theta), -12, 12)
        p = 1 / (1 + np.exp(-raw))
        curvature = np.maximum(w * p * (1 - p), 1e-4)
        target = raw + w * (y - p) / curvature
        before, theta = (
            theta,
            least_squares(design, target, curvature, strength * _LOGISTIC_CURVATURE, theta),
        )
        if np.abs(theta - before).max() < 1e-3:
            break
    return theta


def _conjugate_gradients(
    apply: Callable[[Floats], Floats], goal: Floats, inverse: Floats, start: Floats | None
) -> Floats:
    """Solves apply(x) = goal, preconditioned by a diagonal."""
    x = np.zeros_like(goal) if start is None else start.copy()
    left = goal if start is None else goal - apply(x)
    step = inverse * left
    rho = float(left @ step)
    enough = _TOLERANCE**2 * float(goal @ (inverse * goal))
    for _ in range(_ROUNDS):
        if rho <= enough:
            break
        applied = apply(step)
        alpha = rho / float(step @ applied)
        x += alpha * step
        left = left - alpha * applied
        scaled = inverse * left
        rho, before = float(left @ scaled), rho
        step = scaled + rho / before * step
    return x
