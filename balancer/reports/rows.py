"""The rows of an outcome log as columns of numbers: NaN is unknown, names are numbered."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from balancer.accounting.outcome_store import Reading

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NOBODY = -1

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
    tiers = Names()
    names = {name: Names() for name in _NAMES if name not in {"tier", "shadow"}}
    conversations = Names()
    fallbacks: Counter[tuple[str, str, str]] = Counter()
    found: dict[str, list[Any]] = {
        name: []
        for name in (
            *_NUMBERS, *_NAMES, "conversation", "explored", "answered", "weakest", "strongest", "options",
            "usd_weakest", "usd_strongest", "usd_shadow",
        )
    }  # fmt: skip
    for values in reading.select(_COLUMNS, since):
        row = dict(zip(_COLUMNS, values, strict=True))
        for name in _NUMBERS:
            found[name].append(row[name])
        for name in _NAMES:
            numbers = names.get(name, tiers)
            found[name].append(numbers.number(row[name]) if row[name] else NOBODY)
        # a request without a conversation is one by itself
        found["conversation"].append(conversations.number(row["conversation"].hex() or f"id {row['id']}"))
        found["explored"].append(row["explored"])
        found["answered"].append(row["status"] == 200 and row["ended_by"] == "answer")
        options = msgspec.json.decode(row["options"], type=list[tuple[str, float | None]])
        prices = dict(options)
        weakest, strongest = (options[0], options[-1]) if options else (("", None), ("", None))
        found["options"].append(len(options))
        found["weakest"].append(tiers.number(weakest[0]) if options else NOBODY)
        found["strongest"].append(tiers.number(strongest[0]) if options else NOBODY)
        found["usd_weakest"].append(weakest[1])
        found["usd_strongest"].append(strongest[1])
        found["usd_shadow"].append(prices.get(row["shadow"]))
        for tier, why in msgspec.json.decode(row["left_tiers"], type=list[tuple[str, str]]):
            fallbacks[row["virtual"], tier, why] += 1
    amounts = {*_NUMBERS, "usd_weakest", "usd_strongest", "usd_shadow"}
    truths = {"explored", "answered"}
    columns = {
        name: np.array(each, np.float64 if name in amounts else np.bool_ if name in truths else np.int64)
        for name, each in found.items()
    }
    return Rows(tiers, names, columns, fallbacks)
