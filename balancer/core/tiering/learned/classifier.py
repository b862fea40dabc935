"""A classifier that was learned from somebody's own requests: from its arrays, as `balancer tier train` wrote them.

gain  = quality of the strongest model - quality of the weakest
value = share of the training rows whose gain, predicted by what had not seen them, is smaller
spread: how far the values of routers that saw only half of the rows lie apart (standard deviation), by how much of the
        prompt's words was seen in training
known: unless hardly a word of the prompt was seen in training
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.learned.heads import HEADS, Arrays, Head, Seen, Words, WrongArrays
from balancer.core.tiering.score.features import BUCKETS, Features, Floats
from balancer.core.tiering.score.view import view
from balancer.core.tiering.types import Classifier, Score, Text

UNSEEN: Final = "words unlike those it was trained on"


class Projection:
    """Hashed words as a unit vector: `idf` (BUCKETS,) weighs words, `axes` (BUCKETS, d) are directions of the rows."""

    def __init__(self, idf: Floats, axes: Floats) -> None:
        if idf.shape != (BUCKETS,) or axes.ndim != 2 or axes.shape[0] != BUCKETS:
            raise WrongArrays(f"idf and axes: expected {BUCKETS} rows")
        self._idf = idf.astype(np.float32)
        self._axes = axes.astype(np.float32)

    def vector(self, features: Features) -> Floats:
        weighted = features.values * self._idf[features.ids]
        return unit(weighted @ self._axes[features.ids])


class Learned(Classifier):
    """`name` in receipts and answers. A router of vectors from elsewhere (`projection` is None) is asked by `of_vector`, since
    its vectors have to be fetched; `score` then says that it does not know.
    """

    name = "learned"

    def __init__(
        self,
        models: Sequence[str],
        head: Head,
        arrays: Arrays,
        *,
        projection: Projection | None = None,
        prior: Classifier | None = None,
        least_seen: float = 0.0,
    ) -> None:
        self.models = tuple(models)
        self.needs_vector = head.reads_vector and projection is None
        self._head = head
        self._projection = projection
        self._prior = prior if isinstance(head, Words) and head.asks_prior else None
        if isinstance(head, Words) and head.asks_prior and prior is None:
            raise WrongArrays("this router builds on the bundled prior, which is not given")
        self._gains, first, count = np.unique(
            arrays["gains"].astype(np.float32), return_index=True, return_counts=True
        )
        if not len(self._gains):
            raise WrongArrays("gains: expected one or more")
        self._ranks = (first + count / 2) / float(count.sum())
        self._seen = np.unpackbits(arrays["seen"].astype(np.uint8), count=BUCKETS).astype(np.float32)
        self._spreads = arrays["spreads"].astype(
            np.float32
        )  # (2, bins): share of words seen, and the spread there
        if self._spreads.ndim != 2 or self._spreads.shape[0] != 2 or not self._spreads.shape[1]:
            raise WrongArrays("spreads: expected two rows")
        self._least_seen = least_seen

    @classmethod
    def read(
        cls,
        kind: str,
        models: Sequence[str],
        arrays: Arrays,
        prior: Classifier | None = None,
        least_seen: float = 0.0,
    ) -> "Learned":
        """Raises: WrongArrays, which says what is wrong with them."""
        if kind not in HEADS:
            raise WrongArrays(f"kind: expected one of {', '.join(HEADS)}, given {kind}")
        for name in ("gains", "seen", "spreads"):
            if name not in arrays:
                raise WrongArrays(f"a router needs the array {name}")
        head = HEADS[kind].read(arrays)
        projection = (
            Projection(arrays["idf"], arrays["axes"]) if "axes" in arrays and "idf" in arrays else None
        )
        return cls(models, head, arrays, projection=projection, prior=prior, least_seen=least_seen)

    def score(self, text: Text) -> Score:
        if self.needs_vector:
            return Score(0.5, 0.5, known=False, why="its vectors are not here")
        seen = view(text)
        if seen.why:
            return Score(0.5, 0.5, known=False, why=seen.why)
        prior = self._prior.score(text).value if self._prior is not None else 0.5
        vector = self._projection.vector(seen.features) if self._projection is not None else None
        return self._judged(seen.features, Seen(seen.features, vector, prior))

    def of_vector(self, text: Text, vector: Floats) -> Score:
        seen = view(text)
        if seen.why:
            return Score(0.5, 0.5, known=False, why=seen.why)
        return self._judged(seen.features, Seen(seen.features, unit(vector)))

    def coverage(self, features: Features) -> float:
        """Which part of the prompt's words was seen in training."""
        return float((features.values * features.values) @ self._seen[features.ids])

    def _judged(self, features: Features, seen: Seen) -> Score:
        qualities = self._head.qualities(seen)
        covered = self.coverage(features)
        value = float(np.interp(qualities[-1] - qualities[0], self._gains, self._ranks))
        spread = float(np.interp(covered, self._spreads[0], self._spreads[1]))
        known = covered >= self._least_seen
        why = "" if known else UNSEEN
        if len(self.models) == 2:
            return Score(value, spread, known=known, why=why)
        low, high = np.interp((value - spread, value + spread), self._ranks, self._gains)
        named = tuple(
            (model, min(1.0, max(0.0, float(q)))) for model, q in zip(self.models, qualities, strict=True)
        )
        return Score(value, float(high - low) / 2, known=known, why=why, qualities=named)


def unit(vector: NDArray[Any]) -> Floats:
    length = float(np.linalg.norm(vector))
    scaled: Floats = (vector / length if length else vector).astype(np.float32)
    return scaled
