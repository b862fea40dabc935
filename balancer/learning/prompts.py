"""Prompts as routers see them: features, and vectors where they come from elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.learned import Seen, view
from balancer.core.tiering.score.features import Floats
from balancer.core.tiering.score.ridge import Rows, stack
from balancer.core.tiering.text import bounded
from balancer.core.tiering.types import Classifier, Text


@dataclass(frozen=True, slots=True)
class Prompts:
    """n prompts. `vectors` (n, d) are unit embeddings from elsewhere, `prior` (n,) what the bundled prior says of each, `domains`
    (n,) numbers of domains where those to come will be others: then what is chosen is chosen on domains that are left out.
    """

    rows: Rows
    vectors: Floats | None = None
    prior: NDArray[np.float64] | None = None
    domains: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: NDArray[np.intp]) -> "Prompts":
        return Prompts(
            self.rows.take(index),
            None if self.vectors is None else self.vectors[index],
            None if self.prior is None else self.prior[index],
            None if self.domains is None else self.domains[index],
        )

    def seen(self, i: int, vector: Floats | None = None) -> Seen:
        if vector is None and self.vectors is not None:
            vector = self.vectors[i]
        return Seen(self.rows.row(i), vector, 0.5 if self.prior is None else float(self.prior[i]))


def as_text(prompt: str) -> Text:
    """As a request with this one turn is seen."""
    return Text(bounded(prompt), len(prompt.encode("utf-8", "surrogatepass")))


def prompts(
    texts: Sequence[str], *, vectors: Floats | None = None, prior: Classifier | None = None
) -> Prompts:
    views = [as_text(text) for text in texts]
    rows = stack([view(text).features for text in views])
    said = None if prior is None else np.array([prior.score(text).value for text in views], dtype=np.float64)
    return Prompts(rows, vectors, said)
