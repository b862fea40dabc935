"""Labelled requests as a table, and what a line of a file says."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
WEAK, STRONG = "weak", "strong"


class BadData(Exception):
    """All that is wrong with the rows of a file, or why they can't answer the question; one sentence each."""

    def __init__(self, *mistakes: str) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistakes))


@dataclass(frozen=True, slots=True)
class Row:
    """What one line says. `quality` is in [0, 1] per model. `logged`: served to one model, that was chosen with probability
    `p`; the others are not known.
    """

    prompt: str
    quality: Mapping[str, float]
    domain: str = ""
    p: float = 1.0
    logged: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """n prompts and m models, the weakest first. `quality` (n, m) is NaN where nobody knows, `p` (n,) the probability with which
    a logged row's model was chosen, `logged` (n,) which rows come from a log. `notes` are for whoever trains on it.
    """

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    quality: Floats
    domains: tuple[str, ...]
    p: Floats
    logged: NDArray[np.bool_]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, index: NDArray[np.intp]) -> "Table":
        return replace(
            self,
            prompts=tuple(self.prompts[i] for i in index),
            quality=self.quality[index],
            domains=tuple(self.domains[i] for i in index),
            p=self.p[index],
            logged=self.logged[index],
        )

    @property
    def weak(self) -> Floats:
        return self.quality[:, 0]

    @property
    def strong(self) -> Floats:
        return self.quality[:, -1]

    @property
    def gain(self) -> Floats:
        """What the strongest model adds to the weakest, (n,), in [-1, 1] but for rows from a log."""
        return self.strong - self.weak


def means(quality: Floats, weight: Floats) -> Floats:
    """(m,), of the rows (n, m) where it is known, each counted `weight` (n,) times; NaN where it never is."""
    counted = np.where(np.isnan(quality), 0.0, weight[:, None])
    total = counted.sum(axis=0)
    summed = (counted * np.nan_to_num(quality)).sum(axis=0)
    return np.where(total > 0, summed / np.maximum(total, 1e-12), np.nan)


def table(
    rows: Iterable[Row],
    weak: Sequence[str] = (),
    strong: Sequence[str] = (),
    models: Sequence[str] = (),
) -> Table:
    """The table of `rows`. `weak` and `strong` name the two sides, each one model or several whose qualities are averaged;
    `models` names more than two, each for itself. Without names there must be two models: the better one is the strong one.

    Raises: BadData, where the names or the rows leave no pair.
    """
    merged = _merged(rows)
    known = sorted({model for row in merged for model in row.quality})
    _check_names((*weak, *strong, *models), known)
    notes: list[str] = []
    if models:
        if weak or strong:
            raise BadData("expected either --models, or --weak and --strong, not both")
        sides: list[tuple[str, tuple[str, ...]]] = [(model, (model,)) for model in models]
    elif weak and strong:
        both = set(weak) & set(strong)
        if both:
            raise BadData(f"{min(both)} is named as weak and as strong")
        sides = [("+".join(weak), tuple(weak)), ("+".join(strong), tuple(strong))]
    elif weak or strong:
        raise BadData("expected both --weak and --strong, or neither")
    elif set(known) <= {WEAK, STRONG}:
        sides = [(WEAK, (WEAK,)), (STRONG, (STRONG,))]
    elif len(known) == 2:
        means = {m: _mean([row.quality[m] for row in merged if m in row.quality]) for m in known}
        low, high = sorted(known, key=lambda m: means[m])
        notes.append(
            f"{high} ({means[high]:.3f}) is taken for the strong model, {low} ({means[low]:.3f}) for the weak one"
        )
        sides = [(low, (low,)), (high, (high,))]
    else:
        raise BadData(
            f"there are {len(known)} models: name --weak and --strong, or --models, of {', '.join(known[:20])}"
        )
    quality = np.array(
        [[_mean([r.quality[m] for m in names if m in r.quality]) for _, names in sides] for r in merged]
    )
    return _usable(merged, tuple(name for name, _ in sides), quality.reshape(len(merged), len(sides)), notes)


def _usable(rows: Sequence[Row], models: tuple[str, ...], quality: Floats, notes: list[str]) -> Table:
    """Rows that say something: all qualities, or those of a battle; of a log, one that was drawn."""
    logged = np.array([row.logged for row in rows], dtype=bool)
    p = np.array([row.p for row in rows], dtype=np.float64)
    seen = (~np.isnan(quality)).sum(axis=1)
    keep = np.where(logged, (seen == 1) & (p < 1), seen >= 2)
    certain = int((logged & (p >= 1)).sum())
    if certain:
        notes.append(
            f"{certain} rows left out: they were served where they were with certainty (p = 1), which tells no difference"
        )
    others = int((~keep).sum()) - certain
    if others:
        notes.append(f"{others} rows left out: they compare no two of {', '.join(models)}")
    if logged.any() and (served := np.isfinite(quality[keep & logged]).sum(axis=0)).min() == 0:
        only = ", ".join(m for m, n in zip(models, served, strict=True) if n) or "none"
        raise BadData(
            f"a log of one side can't tell what the other would have gained: rows served at random (p < 1) are of {only};"
            " explore, or send a sample to both"
        )
    if not keep.any():
        raise BadData(f"no row compares {' and '.join(models)}")
    index = np.flatnonzero(keep).tolist()
    return Table(
        tuple(rows[i].prompt for i in index),
        models,
        quality[index],
        tuple(rows[i].domain for i in index),
        p[index],
        logged[index],
        tuple(notes),
    )


def _merged(rows: Iterable[Row]) -> list[Row]:
    """Lines of one prompt, each about another model (as LLMRouter has them), as one row. Others stay."""
    merged: dict[object, Row] = {}
    for number, row in enumerate(rows):
        key: object = number if row.logged or len(row.quality) != 1 else (row.prompt, row.domain)
        before = merged.get(key)
        merged[key] = row if before is None else replace(before, quality={**before.quality, **row.quality})
    return list(merged.values())


def _check_names(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise BadData(f"no row tells of {name}: the models are {', '.join(known[:20]) or 'none'}")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
