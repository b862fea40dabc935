"""What routers learn, as arrays, and what it says of a request: the quality in [0, 1] to expect of each model.

Five kinds, of which the last three read a vector (an embedding) of the prompt. x is a prompt, m a model:
- Words     q_m = b_m + w_m . words(x) + s_m . shape(x) + p_m * (prior(x) - 1/2), the logistic function of it where `logistic`
- Boosted   Words', and what trees on the shape add
- Factors   q_m = logistic(b_m + v_m . (E^T x)), RouteLLM's matrix factorization: models and prompts share few dimensions
- Near      the mean quality of the k nearest known prompts, weighted by exp((similarity - highest) / width)
- Ratings   Bradley-Terry strengths from known comparisons, each weighted by base^(similarity / highest): RouteLLM's
            similarity-weighted Elo; q_m is the chance to win against the mean of the others
RouteLLM: Ong et al., arXiv:2406.18665, 2024. Bradley-Terry by minorization: Hunter, Annals of Statistics 32(1), 2004.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.score.features import BUCKETS, SHAPE, Features, Floats

Arrays = Mapping[str, NDArray[Any]]

SHAPE_LIMIT: Final = 3.0
"""A shape is counted in standard deviations of the training rows, up to so many."""
MOST_DEPTH: Final = 10
"""Of a tree."""
_RATING_ROUNDS: Final = 30


class Seen(NamedTuple):
    """What a head is shown of a prompt: its features, its vector where the head reads one, and what the prior says of it."""

    features: Features | None
    vector: Floats | None = None
    prior: float = 0.5


class WrongArrays(Exception):
    """Arrays that are not those of a router."""


class Head(ABC):
    kind: ClassVar[str]
    reads_vector: ClassVar[bool]
    names: ClassVar[tuple[str, ...]]
    """Of its arrays."""

    @abstractmethod
    def __init__(self, arrays: Arrays) -> None:
        """Raises: WrongArrays, where shapes don't fit."""

    @abstractmethod
    def qualities(self, seen: Seen) -> Floats:
        """(models,)"""

    @classmethod
    def read(cls, arrays: Arrays) -> Self:
        """Raises: WrongArrays."""
        missing = [name for name in cls.names if name not in arrays]
        if missing:
            raise WrongArrays(f"a router of kind {cls.kind} needs the array {missing[0]}")
        for name in cls.names:
            if arrays[name].dtype.kind not in "fiu" or not np.isfinite(arrays[name]).all():
                raise WrongArrays(f"{name}: expected finite numbers")
        return cls(arrays)


class Words(Head):
    """`words` (BUCKETS, m), `shape` (SHAPE, m), `bias` and `prior` (m,), `centre` and `scale` (SHAPE,), `logistic` 0 or 1."""

    kind = "words"
    reads_vector = False
    names: ClassVar[tuple[str, ...]] = ("words", "shape", "bias", "prior", "centre", "scale", "logistic")

    def __init__(self, arrays: Arrays) -> None:
        models = arrays["bias"].shape[0]
        expected = {
            "words": (BUCKETS, models), "shape": (len(SHAPE), models), "bias": (models,), "prior": (models,),
            "centre": (len(SHAPE),), "scale": (len(SHAPE),), "logistic": (),
        }  # fmt: skip
        _check(arrays, expected)
        self._words = arrays["words"].astype(np.float32)
        self._shape = arrays["shape"].astype(np.float32)
        self._bias = arrays["bias"].astype(np.float32)
        self._prior = arrays["prior"].astype(np.float32)
        self._centre = arrays["centre"].astype(np.float32)
        self._scale = arrays["scale"].astype(np.float32)
        self._logistic = bool(arrays["logistic"])
        self.asks_prior = bool(self._prior.any())

    def qualities(self, seen: Seen) -> Floats:
        raw = self.raw(seen)
        return _logistic(raw) if self._logistic else raw

    def raw(self, seen: Seen) -> Floats:
        features = seen.features
        assert features is not None
        shape = standard(features.shape, self._centre, self._scale)
        raw: Floats = self._bias + features.values @ self._words[features.ids] + shape @ self._shape
        return raw + self._prior * np.float32(seen.prior - 0.5)


class Boosted(Words):
    """`columns` and `cuts` (trees, depth): of each tree, which columns of the shape are compared with what; `leaves`
    (trees, 2^depth, m): what it adds, by the answers as bits, the first the highest.
    """

    kind = "boosted"
    names = (*Words.names, "columns", "cuts", "leaves")

    def __init__(self, arrays: Arrays) -> None:
        super().__init__(arrays)
        columns = arrays["columns"]
        trees, depth = columns.shape if columns.ndim == 2 else (0, 0)
        leaves = (trees, 1 << min(depth, MOST_DEPTH), len(self._bias))
        _check(arrays, {"columns": (trees, depth), "cuts": (trees, depth), "leaves": leaves})
        if columns.dtype.kind == "f" or (
            columns.size and not 0 <= columns.min() <= columns.max() < len(SHAPE)
        ):
            raise WrongArrays(f"columns: expected whole numbers from 0 to {len(SHAPE) - 1}")
        self._columns = columns.astype(np.intp)
        self._cuts = arrays["cuts"].astype(np.float32)
        self._leaves = arrays["leaves"].astype(np.float32).reshape(-1, len(self._bias))
        self._bits = 1 << np.arange(depth)[::-1]
        self._first = np.arange(trees) * leaves[1]

    def raw(self, seen: Seen) -> Floats:
        assert seen.features is not None
        answers = seen.features.shape[self._columns] > self._cuts
        added: Floats = self._leaves[self._first + answers @ self._bits].sum(axis=0)
        return super().raw(seen) + added


class Factors(Head):
    """`basis` (d, k), `models` (k, m), `bias` (m,)."""

    kind = "factors"
    reads_vector = True
    names = ("basis", "models", "bias")

    def __init__(self, arrays: Arrays) -> None:
        depth, models = arrays["models"].shape if arrays["models"].ndim == 2 else (0, 0)
        _check(arrays, {"basis": (arrays["basis"].shape[0], depth), "bias": (models,)})
        self._weights = arrays["basis"].astype(np.float32) @ arrays["models"].astype(np.float32)
        self._bias = arrays["bias"].astype(np.float32)

    def qualities(self, seen: Seen) -> Floats:
        assert seen.vector is not None
        return _logistic(self._bias + seen.vector @ self._weights)


class Near(Head):
    """`known` (n, d) unit vectors, `quality` (n, m), `count` k, `width` of the weights."""

    kind = "near"
    reads_vector = True
    names = ("known", "quality", "count", "width")

    def __init__(self, arrays: Arrays) -> None:
        rows = arrays["known"].shape[0]
        _check(arrays, {"quality": (rows, arrays["quality"].shape[-1]), "count": (), "width": ()})
        self._known = arrays["known"].astype(np.float32)
        self._quality = arrays["quality"].astype(np.float32)
        self._count = min(int(arrays["count"]), rows)
        self._width = float(arrays["width"])
        if self._count < 1 or self._width <= 0:
            raise WrongArrays("count and width: expected numbers above 0")

    def qualities(self, seen: Seen) -> Floats:
        assert seen.vector is not None
        similar = self._known @ seen.vector
        nearest = np.argpartition(similar, -self._count)[-self._count :]
        weight = np.exp((similar[nearest] - similar[nearest].max()) / self._width)
        quality: Floats = (weight @ self._quality[nearest] / weight.sum()).astype(np.float32)
        return quality


class Ratings(Head):
    """`known` (n, d) unit vectors, `wins` (n, m, m): what of the comparison of row n went to the first model against the second.
    `base`: how much more the most similar row counts than one that has nothing in common.
    """

    kind = "ratings"
    reads_vector = True
    names = ("known", "wins", "base")

    def __init__(self, arrays: Arrays) -> None:
        rows, models = arrays["wins"].shape[0], arrays["wins"].shape[-1]
        _check(arrays, {"wins": (rows, models, models), "base": ()})
        if arrays["known"].shape[0] != rows or models < 2:
            raise WrongArrays("known and wins: expected one row for each, and two models or more")
        self._known = arrays["known"].astype(np.float32)
        self._wins = arrays["wins"].reshape(rows, models * models).astype(np.float32)
        self._models = models
        self._base = float(arrays["base"])

    def qualities(self, seen: Seen) -> Floats:
        assert seen.vector is not None
        similar = np.maximum(self._known @ seen.vector, 0.0)
        highest = max(float(similar.max(initial=0.0)), 1e-6)
        weight = np.power(self._base, similar / highest - 1.0)
        wins = (weight @ self._wins).reshape(self._models, self._models)
        return _strengths(wins)


def _strengths(wins: Floats) -> Floats:
    """The chance of each model to win against the mean of the others. Half a win is added to each pair: none is certain."""
    models = len(wins)
    won = wins + 0.5 * (1 - np.eye(models, dtype=np.float32)) * max(float(wins.sum()) * 1e-3, 1e-3)
    met = won + won.T
    total = won.sum(axis=1)
    strength = np.ones(models, dtype=np.float64)
    for _ in range(_RATING_ROUNDS):
        against = (met / (strength[:, None] + strength[None, :])).sum(axis=1)  # the diagonal of `met` is 0
        strength = total / np.maximum(against, 1e-12)
        strength /= strength.mean()
    chance = strength[:, None] / (strength[:, None] + strength[None, :])
    mean: Floats = ((chance.sum(axis=1) - 0.5) / (models - 1)).astype(np.float32)
    return mean


HEADS: Final[dict[str, type[Head]]] = {head.kind: head for head in (Words, Boosted, Factors, Near, Ratings)}


def standard(shape: Floats, centre: Floats, scale: Floats) -> Floats:
    """Shapes (..., SHAPE) in standard deviations, of such a length that all of them weigh as much as one word."""
    limited = np.clip((shape - centre) / scale, -SHAPE_LIMIT, SHAPE_LIMIT)
    scaled: Floats = (limited / np.float32(np.sqrt(len(SHAPE)))).astype(np.float32)
    return scaled


def _logistic(x: Floats) -> Floats:
    value: Floats = (0.5 * (1.0 + np.tanh(0.5 * x))).astype(np.float32)
    return value


def _check(arrays: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, expected in shapes.items():
        if arrays[name].shape != expected:
            raise WrongArrays(f"{name}: expected the shape {expected}, given {arrays[name].shape}")
