"""The bundled score: how much more a stronger model is worth for a prompt, as far as the prompt alone can tell.

    raw = words . hashed words + shape . z(x),    x = the shape, and its length times what INTERACTS
    value = the share of the reference mix whose raw score is lower

`spread` is how far models lie apart that were each trained without one family of benchmarks: by their shapes, times how much
further apart they are by their words too (`apart`, a mean). What it was trained on, and how well it does where it was not, is in
MODEL_CARD.md.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.score.features import BUCKETS, SHAPE, VERSION, Floats
from balancer.core.tiering.score.view import view
from balancer.core.tiering.types import Classifier, Score, Text

INTERACTS: Final = ("\\{}_", "$%", "digits", "=<>+*/^", "code", "maths", "who", "third-person", "upper")
"""Beside these a prompt's length means something else: mathematics and code, stories, names."""
CLIP: Final = 4.0

COUNTS: Final = next(i for i, name in enumerate(SHAPE) if name.endswith(", density"))
"""So many columns of a shape are read as they are. The densities behind them did not carry over to other benchmarks, alone."""
_INTERACTS: Final = np.array([SHAPE.index(f"{name}, density") for name in INTERACTS])
_CHARACTERS: Final = SHAPE.index("characters")


def columns(shape: Floats, mean: Floats, scale: Floats) -> Floats:
    """Standardised shapes (..., len(SHAPE)) to COUNTS of them, and the length's products with INTERACTS behind these."""
    z = np.clip((shape - mean) / scale, -CLIP, CLIP)
    products = z[..., [_CHARACTERS]] * z[..., _INTERACTS]
    out: Floats = np.concatenate((z[..., :COUNTS], products), axis=-1, dtype=np.float32)
    return out


class Prior(Classifier):
    """Of arrays as `benchmarks.tiers.train` writes them."""

    name: ClassVar[str] = "prior"

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        if (version := int(arrays["version"])) != VERSION:
            raise ValueError(f"weights for features of version {version}; expected {VERSION}")
        self._words: Floats = arrays["words"].astype(np.float32)
        self._mean: Floats = arrays["mean"].astype(np.float32)
        self._scale: Floats = arrays["scale"].astype(np.float32)
        self._shape: Floats = arrays["shape"].astype(np.float32)
        self._members: Floats = arrays["members"].astype(np.float32)
        self._apart = float(arrays["apart"])
        self._quantiles = arrays["quantiles"].astype(np.float64)
        self._shares = np.linspace(0.0, 1.0, len(self._quantiles))
        if self._words.shape != (BUCKETS,) or len(self._mean) != len(SHAPE):
            raise ValueError(f"weights: expected {BUCKETS} words and {len(SHAPE)} columns of shape")

    def score(self, text: Text) -> Score:
        features, why = view(text)
        if why:
            return Score(0.5, known=False, why=why)
        shape = columns(features.shape, self._mean, self._scale)
        raw = float(self._words[features.ids] @ features.values) + float(self._shape @ shape)
        apart = self._apart * float((self._members @ shape).std())
        low, value, high = np.interp((raw - apart, raw, raw + apart), self._quantiles, self._shares)
        return Score(float(value), float(high - low) / 2.0, why="prior")
