"""Traces of lengths: Mooncake's, which tell what prompts share, and Azure's, which do not."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

import msgspec

from benchmarks.workloads.recorded.lines import Line

AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")

_Count = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]


class Row(NamedTuple):
    """`blocks` are the ids of the prompt's blocks, as far as they are told; equal ids are equal beginnings."""

    time_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()


class _MooncakeLine(msgspec.Struct):
    timestamp: Annotated[float, msgspec.Meta(ge=0)]
    input_length: _Count
    output_length: _Count
    hash_ids: tuple[int, ...]


class _AzureLine(msgspec.Struct):
    ContextTokens: _Count
    GeneratedTokens: _Count


def mooncake(lines: Iterable[Line]) -> list[Row]:
    rows = []
    for line in lines:
        told = line.decode(_MooncakeLine)
        rows.append(Row(told.timestamp / 1_000, told.input_length, told.output_length, told.hash_ids))
    return rows


def azure(lines: Sequence[Line]) -> list[Row]:
    """Times are from the first row on."""
    header, *rest = lines
    names = header.text.split(",")
    if missing := [name for name in AZURE_COLUMNS if name not in names]:
        raise header.wrong(f"expected the columns {', '.join(AZURE_COLUMNS)}; {missing[0]} is missing")
    rows: list[Row] = []
    first: datetime | None = None
    for line in rest:
        told = dict(zip(names, line.text.split(","), strict=False))
        when = _instant(line, told.get("TIMESTAMP", ""))
        first = first or when
        try:
            tokens = msgspec.convert(told, _AzureLine, strict=False)
        except msgspec.ValidationError as error:
            raise line.wrong(str(error)) from None
        rows.append(Row((when - first).total_seconds(), tokens.ContextTokens, max(1, tokens.GeneratedTokens)))
    return rows


def _instant(line: Line, text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise line.wrong(f"TIMESTAMP: expected a date and time, got {text!r}") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
