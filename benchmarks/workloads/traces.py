"""Recorded traffic: Mooncake's FAST'25 traces, replayed at another rate.

A row is a time, two lengths and the ids of the prompt's blocks of 512 tokens; equal ids are equal prefixes. Answers
have no ids, so they are never reused, and who sent a request is not recorded: its second block stands for the
user, since nearly all requests share the first. Source and licence: data/README.md.
"""

import gzip
import json
from functools import cache
from importlib.resources import files
from random import Random
from typing import NamedTuple

from balancer.core.scheduling.indexed import BLOCK_TOKENS
from benchmarks.workloads.traffic import Session, Turn

ROW_BLOCK_TOKENS = 512
MOST_PROMPT_TOKENS = 120_000
MOST_OUTPUT_TOKENS = 4_000
_KEYS_PER_ROW_BLOCK = ROW_BLOCK_TOKENS // BLOCK_TOKENS
_OWN_KEYS = 1 << 48
"""Keys from here on are of the tokens behind a row's last whole block, which no other row has."""


class Row(NamedTuple):
    time_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]


@cache
def read_trace(name: str) -> tuple[Row, ...]:
    packed = files("benchmarks.workloads").joinpath("data", f"{name}.jsonl.gz").read_bytes()
    rows = []
    for line in gzip.decompress(packed).splitlines():
        row = json.loads(line)
        prompt_tokens = min(row["input_length"], MOST_PROMPT_TOKENS)
        blocks = tuple(row["hash_ids"][: max(1, prompt_tokens // ROW_BLOCK_TOKENS)])
        if blocks:
            output_tokens = max(1, min(row["output_length"], MOST_OUTPUT_TOKENS))
            rows.append(Row(row["timestamp"] / 1_000, prompt_tokens, output_tokens, blocks))
    return tuple(rows)


def replay(name: str, rng: Random, rate: float, duration_s: float) -> list[Session]:
    """A part of the trace, begun at a random place, in the order and the rhythm of the original."""
    rows = read_trace(name)
    recorded_s = rows[-1].time_s
    speed = rate * recorded_s / len(rows)
    begin_s = rng.uniform(0, max(0.0, recorded_s - duration_s * speed))
    return [
        _session(number, row, (row.time_s - begin_s) / speed)
        for number, row in enumerate(rows)
        if 0 <= row.time_s - begin_s < duration_s * speed
    ]


def _session(number: int, row: Row, arrival_s: float) -> Session:
    keys = tuple(
        block * _KEYS_PER_ROW_BLOCK + part
        for block in row.blocks[: row.prompt_tokens // ROW_BLOCK_TOKENS]
        for part in range(_KEYS_PER_ROW_BLOCK)
    )
    rest = row.prompt_tokens // BLOCK_TOKENS - len(keys)
    own = tuple(_OWN_KEYS + number * _KEYS_PER_ROW_BLOCK + part for part in range(rest))
    user = f"user {row.blocks[min(1, len(row.blocks) - 1)]}"
    return Session(arrival_s, user, keys + own, (Turn(row.prompt_tokens, row.output_tokens),))


def conversation(rng: Random, rate: float, duration_s: float) -> list[Session]:
    return replay("mooncake_conversation", rng, rate, duration_s)


def synthetic(rng: Random, rate: float, duration_s: float) -> list[Session]:
    return replay("mooncake_synthetic", rng, rate, duration_s)
