"""A recording, whatever its format: which one it is shows in what it begins with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.workloads.recorded.lengths import AZURE_COLUMNS, Row, azure, mooncake
from benchmarks.workloads.recorded.lines import lines, read_text
from benchmarks.workloads.recorded.openai_log import openai_log
from benchmarks.workloads.recorded.request import Request
from benchmarks.workloads.recorded.vllm_bench import custom, share_gpt

FORMATS = (
    "JSON lines of OpenAI requests (bodies, or objects with a body), Mooncake's trace, vLLM bench's custom dataset, "
    "ShareGPT's JSON, or Azure's CSV"
)


@dataclass(frozen=True, slots=True)
class Recording:
    """Either lengths or whole requests, in the order of their times."""

    format: str
    rows: tuple[Row, ...] = ()
    requests: tuple[Request, ...] = ()


def read_recording(path: Path, *, ignore_eos: bool = True) -> Recording:
    """`ignore_eos` is for formats that say how long an answer is."""
    text = read_text(path)
    recording = _parse(path.name, text, ignore_eos=ignore_eos)
    if not recording.rows and not recording.requests:
        raise ValueError(f"{path.name}: expected at least one request")
    return recording


def _parse(name: str, text: str, *, ignore_eos: bool) -> Recording:
    if text.lstrip().startswith("["):
        return Recording("ShareGPT", requests=tuple(share_gpt(name, text, ignore_eos=ignore_eos)))
    found = list(lines(name, text))
    if not found:
        return Recording("empty")
    if AZURE_COLUMNS[0] in found[0].text.partition(",")[0]:
        return Recording("Azure", rows=_in_order(azure(found)))
    if not found[0].text.startswith("{"):
        raise found[0].wrong(f"expected {FORMATS}")
    first = found[0].decode(dict[str, Any])
    if "hash_ids" in first:
        return Recording("Mooncake", rows=_in_order(mooncake(found)))
    if first.keys() <= {"prompt", "output_tokens"}:
        return Recording("vLLM bench custom", requests=tuple(custom(found, ignore_eos=ignore_eos)))
    requests = openai_log(found)
    timed = [request for request in requests if request.time_s is not None]
    if timed and len(timed) < len(requests):
        missing = next(line for line, request in zip(found, requests, strict=True) if request.time_s is None)
        raise missing.wrong("expected a time, as other lines have one")
    return Recording("OpenAI requests", requests=tuple(sorted(requests, key=lambda each: each.time_s or 0.0)))


def _in_order(rows: list[Row]) -> tuple[Row, ...]:
    return tuple(sorted((row for row in rows if row.prompt_tokens), key=lambda row: row.time_s))
