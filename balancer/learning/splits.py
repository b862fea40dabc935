"""Which rows judge what other rows taught. Prompts that are nearly the same are never on both sides."""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from balancer.learning.rows import BadData

Index = NDArray[np.intp]
Split = tuple[Index, Index]
"""Rows to train on, and rows to test."""

FOLDS = 5
FAMILY_CHARACTERS = 90
LEAST_DOMAINS = 3
MOST_ALIKE = 4
_NOT_WORD = re.compile(r"[\W_]+")


def families(prompts: Sequence[str]) -> Index:
    """A number for each prompt, (n,); the same where the first 90 letters and digits are.

    A beginning that more than a few prompts share is a template: then the 90 after all that they share decide.
    """
    bare = [_NOT_WORD.sub("", prompt.casefold()) for prompt in prompts]
    family = np.zeros(len(bare), dtype=np.intp)
    open_groups = [(0, list(range(len(bare))))]
    count = 0
    while open_groups:
        start, group = open_groups.pop()
        parts: dict[str, list[int]] = {}
        for i in group:
            parts.setdefault(bare[i][start : start + FAMILY_CHARACTERS], []).append(i)
        for part in parts.values():
            shared = _shared(bare[min(part, key=bare.__getitem__)], bare[max(part, key=bare.__getitem__)])
            if len(part) > MOST_ALIKE and shared < max(len(bare[i]) for i in part):
                open_groups.append((max(shared, start + 1), part))
            else:
                family[part] = count
                count += 1
    return family


def _shared(first: str, last: str) -> int:
    """How many characters two texts begin with alike; of the least and the greatest of many, all of them do."""
    return next(
        (k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )


def print_of(prompt: str) -> int:
    """64 bits that tell whether a prompt was among others, whatever its spaces, marks and capitals."""
    return xxhash.xxh3_64_intdigest(_NOT_WORD.sub("", prompt.casefold()).encode("utf-8", "surrogatepass"))


def folds(prompts: Sequence[str], count: int = FOLDS, seed: int = 0) -> Iterator[Split]:
    """k-fold, by families."""
    family = families(prompts)
    distinct = int(family.max()) + 1
    if distinct < count:
        raise BadData(f"expected at least {count} different prompts, given {distinct}")
    part = np.random.default_rng(seed).permutation(distinct) % count
    for k in range(count):
        held = part[family] == k
        yield np.flatnonzero(~held), np.flatnonzero(held)


def domains(
    prompts: Sequence[str], names: Sequence[str], most: int | None = None, seed: int = 0
) -> Iterator[Split]:
    """Leave one domain out. With more than `most` domains, several are left out together, drawn by `seed`."""
    family = families(prompts)
    distinct = sorted(set(names))
    if len(distinct) < LEAST_DOMAINS:
        raise BadData(f"expected rows of at least {LEAST_DOMAINS} domains, given {len(distinct)}")
    number = {name: k for k, name in enumerate(distinct)}
    domain = np.array([number[name] for name in names])
    groups = min(len(distinct), most or len(distinct))
    part = np.random.default_rng(seed).permutation(len(distinct)) % groups
    for k in range(groups):
        held = part[domain] == k
        taught = ~held & ~np.isin(family, family[held])
        yield np.flatnonzero(taught), np.flatnonzero(held)
