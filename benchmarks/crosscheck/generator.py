"""What a load generator is here: a program that sends a load to an target, and a report that it leaves in a folder."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.crosscheck.load import Load
from benchmarks.load.target import Target

LATENCIES = ("ttft", "tpot", "itl", "e2el")
PERCENTILES = (50, 90, 99)

TOKENIZER = "tokenizer"
"""The folder, below a run's, of a tokenizer for generators that insist on one and then count by the answer's `usage`."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a generator says of its run. `percentiles_ms` has `ttft`, `tpot`, `itl` and `e2el`, each by percent, as far as it
    reports them itself. `sent_s` is when requests left, by a clock of its own.
    """

    completed: int
    percentiles_ms: Mapping[str, Mapping[int, float]]
    sent_s: Sequence[float]


@dataclass(frozen=True, slots=True)
class Generator:
    """`command` leaves its input in the folder, where it is run; `read` takes the report from there."""

    name: str
    version: str | None
    command: Callable[[Load, Target, Path], list[str]]
    read: Callable[[Path], Report]


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_tokenizer(folder: Path) -> Path:
    """Words for tokens."""
    home = folder / TOKENIZER
    home.mkdir()
    model = {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}
    parts = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": model}
    others = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    (home / "tokenizer.json").write_text(json.dumps(parts | others), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (home / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return home


def flat_percentiles(result: Mapping[str, Any]) -> dict[str, dict[int, float]]:
    """Of a result in `vllm bench serve`'s field names."""
    return {
        name: {percent: float(result[f"p{percent}_{name}_ms"]) for percent in PERCENTILES}
        for name in LATENCIES
    }
