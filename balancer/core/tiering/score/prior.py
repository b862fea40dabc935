"""The bundled score: how much more a stronger model is worth for a prompt, as far as the prompt alone can tell.

    raw = words . hashed words + shape . z(x),    x = the shape, and its length times what INTERACTS
    value = the share of the reference mix whose raw score is lower

`spread` is how far models lie apart that were each trained without one family of benchmarks: by their shapes, times how much
further apart they are by their words too (`apart`, a mean). What it was trained on, and how well it does where it was not, is in
MODEL_CARD.md.
"""

from bisect import bisect_right
from collections.abc import Mapping
from math import sqrt
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.score.features import BUCKETS, SHAPE, VERSION, Floats
from balancer.core.tiering.score.view import view
from balancer.core.tiering.types import Classifier, Score, Text

INTERACTS: Final = ("\\{}_", "$%", "digits", "=<>+*/^", "code", "maths", "who", "third-person", "upper")
"""Beside these a prompt's length means something else: mathematics and code, stories, names."""
CLIP: Final = 4.0

ENGLISH: Final = (
    "word length", "long words", "capitals", "words per sentence", "upper", "high", "spaces", "continued", "stop",
    "?", ",", ".!",
)  # fmt: skip
"""What these are in another script says nothing: what they are on average stands for them."""
FOREIGN: Final = 0.2
"""Text of which more is bytes that continue a character is in another script. Its words have no weights either."""
COUNTS: Final = next(i for i, name in enumerate(SHAPE) if name.endswith(", density"))
"""So many columns of a shape are read as they are. The densities behind them did not carry over to other benchmarks, alone."""
_INTERACTS: Final = np.array([SHAPE.index(f"{name}, density") for name in INTERACTS])
_ENGLISH: Final = np.array([SHAPE.index(name) for name in ENGLISH])
_CONTINUED: Final = SHAPE.index("continued, density")
_CHARACTERS: Final = SHAPE.index("characters")


def columns(shape: Floats, mean: Floats, scale: Floats) -> Floats:
    """Standardised shapes (..., len(SHAPE)) to COUNTS of them, and the length's products with INTERACTS behind these."""
    z = np.minimum(np.maximum((shape - mean) / scale, -CLIP), CLIP)
    z[..., _ENGLISH] *= shape[..., _CONTINUED, None] < sqrt(FOREIGN)
    products = z[..., _CHARACTERS, None] * z[..., _INTERACTS]
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
        coefficients = np.concatenate((arrays["shape"][None], arrays["members"])).astype(np.float32)
        self._counts, self._products = coefficients[:, :COUNTS].copy(), coefficients[:, COUNTS:].copy()
        self._apart = float(arrays["apart"])
        self._quantiles: list[float] = arrays["quantiles"].astype(np.float64).tolist()
        if self._words.shape != (BUCKETS,) or len(self._mean) != len(SHAPE):
            raise ValueError(f"weights: expected {BUCKETS} words and {len(SHAPE)} columns of shape")

    def score(self, text: Text) -> Score:
        features, why = view(text)
        if why:
            return Score(0.5, known=False, why=why)
        foreign = bool(features.shape[_CONTINUED] >= sqrt(FOREIGN))
        z = np.minimum(
            np.maximum((features.shape - self._mean) / self._scale, -CLIP), CLIP
        )  # as `columns`, of one
        if foreign:
            z[_ENGLISH] = 0.0
        said = self._counts @ z[:COUNTS] + z[_CHARACTERS] * (self._products @ z[_INTERACTS])
        raw = float(said[0])
        if not foreign:
            raw += float(self._words[features.ids] @ features.values)
        members = said[1:] - said[1:].sum() / (len(said) - 1)
        apart = self._apart * sqrt(float(members @ members) / len(members))
        low, value, high = self._share(raw - apart), self._share(raw), self._share(raw + apart)
        return Score(value, (high - low) / 2.0, why="prior")

    def _share(self, raw: float) -> float:
        """Of the reference mix, what lies below; between its quantiles in proportion."""
        quantiles = self._quantiles
        after = bisect_right(quantiles, raw)
        if after in {0, len(quantiles)}:
            return float(after > 0)
        below, above = quantiles[after - 1], quantiles[after]
        return (after - 1 + (raw - below) / (above - below)) / (len(quantiles) - 1)
