"""The kinds of routers, behind one interface: learn from rows, say what each prompt gains, and be written as arrays."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.learned import HEADS, Head
from balancer.learning import vectors as by_vector
from balancer.learning.prompts import Prompts
from balancer.learning.rows import BadData, Floats, means
from balancer.learning.trees import fit_trees, no_trees, said
from balancer.learning.words import fit_words

Arrays = dict[str, NDArray[Any]]
BOOSTED_ROWS: Final = 2000
"""Trees are grown on so many rows or more; with fewer, there are none."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A router that has learned. `arrays` are its head's, and its projection's where the vectors are of hashed words."""

    kind: str
    head: Head
    arrays: Arrays

    def qualities(self, seen: Prompts) -> Floats:
        """(n, m), what to expect of each model."""
        given = None
        if self.head.reads_vector:
            given = seen.vectors if "axes" not in self.arrays else by_vector.projected(seen.rows, self.arrays)
            if given is None:
                raise BadData(f"the router {self.kind} reads vectors, which are not given")
        found = [
            self.head.qualities(seen.seen(i, None if given is None else given[i])) for i in range(len(seen))
        ]
        return np.array(found, dtype=np.float64).reshape(len(seen), -1)

    def gains(self, seen: Prompts) -> Floats:
        qualities = self.qualities(seen)
        return qualities[:, -1] - qualities[:, 0]


class Router(ABC):
    kind: ClassVar[str]
    head: ClassVar[str]

    @abstractmethod
    def arrays(self, seen: Prompts, quality: Floats, weight: Floats, seed: int) -> Arrays:
        """Raises: BadData, where the rows are not enough for this kind."""

    def fit(self, seen: Prompts, quality: Floats, weight: Floats | None = None, seed: int = 0) -> Fitted:
        """`quality` (n, m), the weakest model first, NaN where not known; `weight` (n,) counts rows."""
        counted = np.ones(len(seen)) if weight is None else weight
        arrays = self.arrays(seen, quality, counted, seed)
        return Fitted(self.kind, HEADS[self.head].read(arrays), arrays)


class Ridge(Router):
    kind = "ridge"
    head = "words"

    def arrays(self, seen: Prompts, quality: Floats, weight: Floats, seed: int) -> Arrays:
        return fit_words(seen, quality, weight, seed, logistic=False)


class Boosted(Router):
    kind = "boosted"
    head = "boosted"

    def arrays(self, seen: Prompts, quality: Floats, weight: Floats, seed: int) -> Arrays:
        if len(seen) < BOOSTED_ROWS or np.isnan(quality).all(axis=0).any():
            return {**fit_words(seen, quality, weight, seed, logistic=False), **no_trees(quality.shape[1])}
        level = means(quality, weight)
        trees = fit_trees(seen.rows.shape, quality - level, weight, seed)
        linear = fit_words(seen, quality - said(trees, seen.rows.shape), weight, seed, logistic=False)
        return {**linear, **trees}


class Logistic(Router):
    kind = "logistic"
    head = "words"

    def arrays(self, seen: Prompts, quality: Floats, weight: Floats, seed: int) -> Arrays:
        return fit_words(seen, quality, weight, seed, logistic=True)


class _OnVectors(Router):
    needs_both: ClassVar[bool] = True

    def arrays(self, seen: Prompts, quality: Floats, weight: Floats, seed: int) -> Arrays:
        if self.needs_both and ((~np.isnan(quality)).sum(axis=1) < 2).any():
            raise BadData(
                f"the router {self.kind} needs rows that compare models, not a log: use ridge, logistic or mf"
            )
        if seen.vectors is not None:
            return self.on(seen.vectors, quality, weight, seed)
        projection = by_vector.fit_projection(seen.rows, seed)
        return {**projection, **self.on(by_vector.projected(seen.rows, projection), quality, weight, seed)}

    @abstractmethod
    def on(self, vectors: NDArray[np.float32], quality: Floats, weight: Floats, seed: int) -> Arrays: ...


class Factorization(_OnVectors):
    kind = "mf"
    head = "factors"
    needs_both = False

    def on(self, vectors: NDArray[np.float32], quality: Floats, weight: Floats, seed: int) -> Arrays:
        return by_vector.fit_factors(vectors, quality, weight, seed)


class Neighbours(_OnVectors):
    kind = "knn"
    head = "near"

    def on(self, vectors: NDArray[np.float32], quality: Floats, weight: Floats, seed: int) -> Arrays:
        return by_vector.fit_near(vectors, quality, weight, seed)


class SimilarityWeighted(_OnVectors):
    kind = "sw"
    head = "ratings"

    def on(self, vectors: NDArray[np.float32], quality: Floats, weight: Floats, seed: int) -> Arrays:
        return by_vector.fit_ratings(vectors, quality, weight, seed)


ROUTERS: Final[dict[str, Router]] = {
    router.kind: router
    for router in (Boosted(), Ridge(), Logistic(), Factorization(), Neighbours(), SimilarityWeighted())
}
