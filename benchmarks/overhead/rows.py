"""What a run measured, a row per cell. Data only: medians and goals are made of it elsewhere."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Cost:
    """One closed-loop cell. The CPU figures are None where no process stands between client and backend."""

    arm: str
    body: str
    repeat: int
    answers: int
    errors: dict[str, int]
    requests_per_s: float
    reads_per_answer: float | None
    cpu_us_per_request: float | None
    cpu_source: str | None


@dataclass(frozen=True, slots=True)
class Latency:
    """One open-loop cell; of a stream to its first byte, else to the whole answer."""

    arm: str
    body: str
    repeat: int
    rate_per_s: float
    errors: dict[str, int]
    latencies_s: list[float]


@dataclass(frozen=True, slots=True)
class ManyStreams:
    """One run of streams that are all open at once."""

    arm: str
    streams: int
    lost: int
    errors: dict[str, int]
    chunks: int
    cpu_us_per_chunk: float | None
    cpu_source: str | None
    growth_bytes: int | None


@dataclass(slots=True)
class Measured:
    costs: list[Cost] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    streams: list[ManyStreams] = field(default_factory=list)
    versions: dict[str, str | None] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    """Why an arm was left out or given up, by its name."""


def as_rows(rows: Sequence[Cost] | Sequence[Latency] | Sequence[ManyStreams]) -> list[dict[str, object]]:
    """Rows for a result file; latencies stay out, their percentiles are figures."""
    dicts = [dataclasses.asdict(row) for row in rows]
    for each in dicts:
        each.pop("latencies_s", None)
    return dicts
