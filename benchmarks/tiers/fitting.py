"""The bundled prior's fit: hashed words by ridge, shape by a ridge so strong that little more than the sign is learned.

    label = (1 - weaker) + (stronger - weaker) or stronger - weaker, less its source's mean
    raw = words . x + mixed * z(shape of "mix") + gained * z(shape of "gain") + longer * z(length)

Each source has its own pair of models, so only what differs within a source is learned; sources weigh by the square root
of their size. The weights of the sum are a Setting, and chosen on inner splits: see `protocols`.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.score.features import BUCKETS, SHAPE, VERSION, Floats
from balancer.core.tiering.score.prior import COUNTS, INTERACTS, columns
from balancer.core.tiering.score.ridge import Doubles, Rows
from balancer.learning.words import Design, least_squares
from benchmarks.tiers.data import Data

WORDS_STRENGTH: Final = 32.0
SHAPE_STRENGTH: Final = 10.0
"""Per row."""
MOST_OF_A_SOURCE: Final = 800
"""So many rows of each source, evenly spaced, standardise shapes."""
REFERENCE: Final = "llmrouter"
"""The family whose prompts are the reference mix: the only one of many kinds of short questions, as people ask them."""
QUANTILES: Final = 257
_CHARACTERS: Final = SHAPE.index("characters")

Index = NDArray[np.int64]


class Setting(NamedTuple):
    """In units of the label."""

    mixed: float
    gained: float
    longer: float

    def coefficients(self, fitted: "Fitted") -> Doubles:
        length = np.zeros(COUNTS + len(INTERACTS))
        length[_CHARACTERS] = 1.0
        return self.mixed * fitted.mixed + self.gained * fitted.gained + self.longer * length

    def raw(self, fitted: "Fitted", rows: Rows) -> Doubles:
        by_words, shape = fitted.parts(rows)
        return by_words + shape @ self.coefficients(fitted)


class Fitted(NamedTuple):
    """Of one set of training rows; the shapes' coefficients give scores of unit variance over them."""

    words: Doubles
    mean: Floats
    scale: Floats
    mixed: Doubles
    gained: Doubles

    def parts(self, rows: Rows) -> tuple[Doubles, Floats]:
        """Scores by words, and the columns of shape."""
        return rows.words(self.words), columns(rows.shape, self.mean, self.scale)


def fit(data: Data, rows: Rows, train: Index) -> Fitted:
    """`rows` are those of all of `data`."""
    sources = data.sources[train]
    mix, weights = np.empty(len(train)), np.empty(len(train))
    gain = data.stronger[train] - data.weaker[train]
    mix = gain + 1.0 - data.weaker[train]
    for source in np.unique(sources):
        here = sources == source
        gain[here] -= gain[here].mean()
        mix[here] -= mix[here].mean()
        weights[here] = here.sum() ** -0.5
    weights /= weights.mean()
    here = rows.take(train)
    words = least_squares(Design(here, np.zeros((len(train), 0))), mix, weights, WORDS_STRENGTH)[:BUCKETS]
    some = here.shape[np.concatenate(evenly(sources))]
    mean, scale = some.mean(0), some.std(0) + np.float32(1e-6)
    z = columns(here.shape, mean, scale).astype(np.float64)
    normal = (z * weights[:, None]).T @ z + SHAPE_STRENGTH * len(train) * np.eye(z.shape[1])
    mixed, gained = np.linalg.solve(normal, z.T @ (weights[:, None] * np.stack((mix, gain), axis=1))).T
    return Fitted(words, mean, scale, mixed / (z @ mixed).std(), gained / (z @ gained).std())


def evenly(sources: NDArray[np.str_]) -> list[Index]:
    """Places of up to MOST_OF_A_SOURCE rows of each source."""
    places = []
    for source in np.unique(sources):
        here = np.flatnonzero(sources == source)
        places.append(here[np.linspace(0, len(here) - 1, min(len(here), MOST_OF_A_SOURCE)).astype(np.int64)])
    return places


def ship(
    data: Data, rows: Rows, setting: Setting, fitted: Fitted, members: dict[str, Fitted]
) -> dict[str, NDArray[np.generic]]:
    """The arrays of the weights file. `members` were each trained without one family: so the reference mix is scored as prompts
    that were never seen. Where its family is not there, all others are the mix.
    """
    mix = [
        setting.raw(member, rows.take(np.flatnonzero(data.families == family)))
        for family, member in members.items()
        if family == REFERENCE or REFERENCE not in members
    ]
    some = rows.take(np.concatenate(evenly(data.sources)))
    shape = columns(some.shape, fitted.mean, fitted.scale)
    wholly = np.std([setting.raw(member, some) for member in members.values()], axis=0)
    by_shape = np.std([shape @ setting.coefficients(member) for member in members.values()], axis=0)
    return {
        "apart": np.array(wholly.mean() / by_shape.mean(), np.float32),
        "version": np.array(VERSION),
        "words": fitted.words.astype(np.float16),
        "mean": fitted.mean.astype(np.float32),
        "scale": fitted.scale.astype(np.float32),
        "shape": setting.coefficients(fitted).astype(np.float32),
        "members": np.stack([setting.coefficients(one) for one in members.values()]).astype(np.float32),
        "quantiles": np.quantile(np.concatenate(mix), np.linspace(0.0, 1.0, QUANTILES)).astype(np.float32),
    }
