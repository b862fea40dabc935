"""The order in which arms are measured. Pure.

A machine that warms up or slows down, and whatever an arm leaves behind for the next one, must not favour any arm. The rows
of a Williams design (E. J. Williams, 1949) are orders in which every arm stands once at every place and follows every
other arm equally often: n rows for an even number of arms, 2 n for an odd one; for two arms it is AB BA. With every row its
reverse is one too, so rows are given out in such pairs: any even number of repeats cancels a linear drift,
and whole designs balance places and predecessors.
"""

from collections.abc import Sequence
from random import Random


def design(count: int) -> list[tuple[int, ...]]:
    """The rows of a Williams design of arms 0 to count - 1, each followed by its reverse."""
    if count < 1:
        raise ValueError(f"count: expected at least 1, got {count}")
    zigzag = [place // 2 if place % 2 else -(place // 2) for place in range(1, count + 1)]
    rows = [tuple((start + step) % count for step in zigzag) for start in range(count)]
    paired: dict[tuple[int, ...], None] = {}
    for row in rows:
        paired[row] = None
        paired[row[::-1]] = None
    return list(paired)


def orders(arms: Sequence[str], repeats: int, seed: int | str) -> list[tuple[str, ...]]:
    """For each repeat all arms in their order. Which arm is which of the design, and which pair comes first, is drawn."""
    rng = Random(seed)
    labels = rng.sample(arms, len(arms))
    rows: list[tuple[int, ...]] = []
    while len(rows) < repeats:
        whole = design(len(arms))
        pairs = [whole[at : at + 2] for at in range(0, len(whole), 2)]
        rng.shuffle(pairs)
        rows += [row for pair in pairs for row in rng.sample(pair, len(pair))]
    return [tuple(labels[arm] for arm in row) for row in rows[:repeats]]
