"""The rows of an outcome log as columns of numbers: NaN is unknown, names are numbered."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from balancer.accounting.outcome_store import Reading

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NOBODY = -1
_CHUNK = 10_000
_NONE: list[tuple[str, float | None]] = [("", None)]
_options = msgspec.json.Decoder(list[tuple[str, float | None]])
_left = msgspec.json.Decoder(list[tuple[str, str]])

_NUMBERS = ("at", "score", "spread", "threshold", "propensity", "ttft_s", "usd", "rating")
_NAMES = ("virtual", "target", "tier", "reason", "rule", "arm", "shadow", "winner")
_COLUMNS = (
    *_NUMBERS,
    *_NAMES,
    "id",
    "conversation",
    "explored",
    "status",
    "ended_by",
    "options",
    "left_tiers",
)


@dataclass(slots=True)
class Names:
    """Names and their numbers, in the order in which they were first met."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))

    def __getitem__(self, number: int) -> str:
        return list(self.numbers)[number]

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True, slots=True)
class Rows:
    """All columns have one length. Tiers (`tier`, `shadow`, `weakest`, `strongest`) are numbered by `tiers`, what else has names
    by `names` of its column; NOBODY is none. `usd_*` is what the same tokens would have cost there. `fallbacks` count the tiers
    that were left, with why, by virtual model.
    """

    tiers: Names
    names: dict[str, Names]
    columns: dict[str, NDArray[Any]]
    fallbacks: Counter[tuple[str, str, str]]

    def __len__(self) -> int:
        return len(self.columns["at"])

    def floats(self, name: str) -> Floats:
        return self.columns[name]

    def ints(self, name: str) -> Ints:
        return self.columns[name]

    def bools(self, name: str) -> Bools:
        return self.columns[name]

    def where(self, chosen: Bools) -> "Rows":
        return Rows(
            self.tiers,
            self.names,
            {name: each[chosen] for name, each in self.columns.items()},
            self.fallbacks,
        )

    def named(self, column: str, name: str) -> Bools:
        found: Bools = self.columns[column] == self.names[column].numbers.get(name, NOBODY - 1)
        return found

    def name(self, column: str, number: int) -> str:
        return self.names[column][number]


def read_rows(reading: Reading, since: float = 0.0) -> Rows:
    """Since unix time `since`."""
    found = _Found()
    rows = reading.select(_COLUMNS, since)
    while chunk := list(islice(rows, _CHUNK)):
        found.add(dict(zip(_COLUMNS, zip(*chunk, strict=True), strict=True)))
    columns = {name: np.concatenate([each[name] for each in found.chunks]) for name in found.chunks[0]}
    return Rows(found.tiers, found.names, columns, found.fallbacks)


class _Found:
    """What was read until now."""

    def __init__(self) -> None:
        self.tiers = Names()
        self.names = {name: Names() for name in _NAMES if name not in {"tier", "shadow"}}
        self.conversations = Names()
        self.fallbacks: Counter[tuple[str, str, str]] = Counter()
        self.chunks: list[dict[str, NDArray[Any]]] = []
        self.add(dict.fromkeys(_COLUMNS, ()))  # so that there are columns, whatever is read

    def add(self, given: dict[str, tuple[Any, ...]]) -> None:
        made: dict[str, NDArray[Any]] = {name: np.array(given[name], np.float64) for name in _NUMBERS}
        for name in _NAMES:
            made[name] = _numbered(self.names.get(name, self.tiers), given[name])
        talks = zip(given["conversation"], given["id"], strict=True)
        # a request without a conversation is one by itself
        made["conversation"] = _numbered(
            self.conversations, [talk.hex() or f"id {own}" for talk, own in talks]
        )
        made["explored"] = np.array(given["explored"], np.bool_)
        ends = zip(given["status"], given["ended_by"], strict=True)
        made["answered"] = np.array([status == 200 and by == "answer" for status, by in ends], np.bool_)
        options = [_options.decode(each) or _NONE for each in given["options"]]
        made["options"] = np.array([len(each) if each is not _NONE else 0 for each in options], np.int64)
        for name, place in (("weakest", 0), ("strongest", -1)):
            made[name] = _numbered(self.tiers, [each[place][0] for each in options])
            made[f"usd_{name}"] = np.array([each[place][1] for each in options], np.float64)
        shadows = zip(given["shadow"], options, strict=True)
        made["usd_shadow"] = np.array(
            [dict(each).get(tier) if tier else None for tier, each in shadows], np.float64
        )
        for virtual, left in zip(given["virtual"], given["left_tiers"], strict=True):
            if left != "[]":
                self.fallbacks.update((virtual, tier, why) for tier, why in _left.decode(left))
        self.chunks.append(made)


def _numbered(names: Names, given: Sequence[str]) -> Ints:
    return np.array([names.number(name) if name else NOBODY for name in given], np.int64)
