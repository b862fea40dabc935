"""Recorded lengths, replayed at another rate: Mooncake's FAST'25 traces, and Azure's of 2023.

A row of Mooncake's has the ids of the prompt's blocks of 512 tokens; equal ids are equal prefixes. Answers
have no ids, so they are never reused, and who sent a request is not recorded: its second block stands for the
user, since nearly all requests share the first. In Azure's, no prompt shares anything. Sources and licences: data/README.md.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from random import Random

from balancer.core.scheduling.indexed import BLOCK_TOKENS
from benchmarks.workloads.recorded.lengths import Row, azure, mooncake
from benchmarks.workloads.recorded.lines import lines, unpack
from benchmarks.workloads.traffic import Session, Turn

ROW_BLOCK_TOKENS = 512
MOST_PROMPT_TOKENS = 120_000
MOST_OUTPUT_TOKENS = 4_000
_KEYS_PER_ROW_BLOCK = ROW_BLOCK_TOKENS // BLOCK_TOKENS
_OWN_KEYS = 1 << 48
"""Keys from here on are of the tokens behind a row's last known block, which no other row has."""


@cache
def read_trace(name: str) -> tuple[Row, ...]:
    """One of the packaged ones, its longest requests cut to what replicas take."""
    read: Callable[..., list[Row]] = azure if name.endswith(".csv.gz") else mooncake
    text = unpack(name, files("benchmarks.workloads").joinpath("data", name).read_bytes())
    rows = read(list(lines(name, text)))
    return tuple(_cut(row) for row in rows if row.prompt_tokens)


def _cut(row: Row) -> Row:
    return row._replace(
        prompt_tokens=min(row.prompt_tokens, MOST_PROMPT_TOKENS),
        output_tokens=max(1, min(row.output_tokens, MOST_OUTPUT_TOKENS)),
    )


def speed_for(rows: Sequence[Row], rate: float) -> float:
    """How many times faster than it was recorded a trace has to go, to come to this rate on average."""
    return rate * rows[-1].time_s / len(rows)


def replay(name: str, rng: Random, rate: float, duration_s: float) -> list[Session]:
    """A part of the trace, begun at a random place, in the order and the rhythm of the original."""
    rows = read_trace(name)
    speed = speed_for(rows, rate)
    recorded_s = rows[-1].time_s
    begin_s = rng.uniform(0, max(0.0, recorded_s - duration_s * speed))
    return sessions(rows, begin_s, speed, duration_s)


def excerpt(name: str, rng: Random, rate: float, duration_s: float) -> list[Session]:
    """As many requests as the rate makes, in the rhythm of the original, from a random one on and around its end. For traces
    in which no prompt shares anything, so that nobody can tell the beginning from the end.
    """
    rows = read_trace(name)
    begin, wanted = rng.randrange(len(rows)), max(1, round(rate * duration_s))
    round_s = rows[-1].time_s * len(rows) / (len(rows) - 1)
    taken = []
    for place in range(begin, begin + wanted + 1):
        rounds, at = divmod(place, len(rows))
        taken.append(rows[at]._replace(time_s=rows[at].time_s + rounds * round_s))
    recorded_s = max(1e-6, taken[-1].time_s - taken[0].time_s)
    return sessions(taken[:-1], taken[0].time_s, recorded_s / duration_s, duration_s)


def sessions(rows: Sequence[Row], begin_s: float, speed: float, duration_s: float) -> list[Session]:
    """What arrives in `duration_s`, when the trace goes on from `begin_s` at so many times its speed."""
    return [
        _session(number, row, (row.time_s - begin_s) / speed)
        for number, row in enumerate(rows)
        if 0 <= row.time_s - begin_s < duration_s * speed
    ]


def _session(number: int, row: Row, arrival_s: float) -> Session:
    whole = row.blocks[: row.prompt_tokens // ROW_BLOCK_TOKENS]
    keys = [block * _KEYS_PER_ROW_BLOCK + part for block in whole for part in range(_KEYS_PER_ROW_BLOCK)]
    for part in range(row.prompt_tokens // BLOCK_TOKENS - len(keys)):
        beyond, place = divmod(part, _KEYS_PER_ROW_BLOCK)
        keys.append(_OWN_KEYS * (1 + beyond) + number * _KEYS_PER_ROW_BLOCK + place)
    known = whole or row.blocks[:1]
    user = f"user {known[min(1, len(known) - 1)]}" if known else f"request {number}"
    return Session(arrival_s, user, tuple(keys), (Turn(row.prompt_tokens, row.output_tokens),))
