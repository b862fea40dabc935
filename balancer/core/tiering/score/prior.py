"""The bundled score: how much more a stronger model is worth for a prompt, as far as the prompt alone can tell.

    raw = words . hashed words + shape . z(x),    x = the shape, and its length times what INTERACTS
    value = the share of the reference mix whose raw score is lower

`spread` is how far the answers of models lie apart that were each trained without one family of benchmarks. What it was trained
on, and how well it does where it was not, is in MODEL_CARD.md.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.score.features import BUCKETS, SHAPE, VERSION, Features, Floats, featurize
from balancer.core.tiering.score.question import goes_on, question, unreadable
from balancer.core.tiering.text import END_CHARACTERS
from balancer.core.tiering.types import Classifier, Score, Text

INTERACTS: Final = ("\\{}_", "$%", "digits", "=<>+*/^", "code", "maths", "who", "third-person", "upper")
"""Beside these a prompt's length means something else: mathematics and code, stories, names."""
CLIP: Final = 4.0
FEW_WORDS: Final = 8
"""Turns of fewer words are read together with those before."""

_INTERACTS: Final = np.array([SHAPE.index(f"{name}, density") for name in INTERACTS])
_CHARACTERS: Final = SHAPE.index("characters")


def columns(shape: Floats, mean: Floats, scale: Floats) -> Floats:
    """Standardised shapes (..., len(SHAPE)), and the length's products with INTERACTS behind them."""
    z = np.clip((shape - mean) / scale, -CLIP, CLIP)
    out: Floats = np.concatenate((z, z[..., [_CHARACTERS]] * z[..., _INTERACTS]), axis=-1, dtype=np.float32)
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
        self._quantiles: Floats = arrays["quantiles"].astype(np.float32)
        if self._words.shape != (BUCKETS,) or len(self._mean) != len(SHAPE):
            raise ValueError(f"weights: expected {BUCKETS} words and {len(SHAPE)} columns of shape")

    def score(self, text: Text) -> Score:
        asked = question(text.last)
        if not asked:
            return Score(0.5, known=False, why="empty")
        if goes_on(asked, text.turns):
            return Score(0.5, known=False, why="follow-up")
        if unreadable(asked):
            return Score(0.5, known=False, why="unreadable")
        whole = text.last_bytes if len(asked) >= 2 * END_CHARACTERS else len(asked)
        if text.before and len(asked.split(None, FEW_WORDS)) < FEW_WORDS:
            asked = f"{text.before}\n{asked}"
            whole = len(asked)
        value, spread = self.at(featurize(asked, whole))
        return Score(value, spread, why="prior")

    def at(self, features: Features) -> tuple[float, float]:
        """Value and spread."""
        shape = columns(features.shape, self._mean, self._scale)
        raw = float(self._words[features.ids] @ features.values + self._shape @ shape)
        apart = float((self._members @ shape).std())
        low, value, high = self._percentile(raw - apart), self._percentile(raw), self._percentile(raw + apart)
        return value, (high - low) / 2.0

    def _percentile(self, raw: float) -> float:
        return float(np.interp(raw, self._quantiles, np.linspace(0.0, 1.0, len(self._quantiles))))
