"""Samples as JSON, between `balancer agent` and a balancer.

{"version": 1, "now": 5.0, "host": "gpu-a", "driver": "580.159.04", "problem": null, "gpus": [GPU, ...]}

A GPU is a GpuSample, field by field; null is not known, and fields that are not known here are passed over. Its times are those
of the agent's clock, which shows `now`.
"""

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from balancer.core.fleet.gpu import MAX_FAULTS, GpuSample

MAX_GPUS = 512
MAX_TEXT = 96
VERSION = 1


@dataclass(frozen=True, slots=True)
class _Page:
    version: int
    now: float
    gpus: list[GpuSample]
    host: str = ""
    driver: str | None = None
    problem: str | None = None


_page = msgspec.json.Decoder(_Page)


def written(
    samples: tuple[GpuSample, ...], now: float, *, host: str, driver: str | None, problem: str | None
) -> bytes:
    return msgspec.json.encode(_Page(VERSION, now, list(samples), host, driver, problem))


def read(page: bytes, now: float) -> tuple[str, tuple[GpuSample, ...]]:
    """The host's name and its GPUs. Raises: ValueError, which says what is wrong, or what the agent could not read."""
    try:
        told = _page.decode(page)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no page of an agent: {error}") from None
    if told.version != VERSION:
        raise ValueError(f"version {told.version} of the page is not known")
    if told.problem:
        raise ValueError(f"the agent says: {told.problem[:MAX_TEXT]}")
    return told.host[:MAX_TEXT], tuple(_ours(gpu, now - told.now, now) for gpu in told.gpus[:MAX_GPUS])


def as_json(sample: GpuSample, now: float) -> dict[str, Any]:
    """For people: times as ages."""
    plain: dict[str, Any] = msgspec.to_builtins(sample, builtin_types=(frozenset,))
    plain["age_s"] = round(now - plain.pop("taken_at"), 3)
    plain["throttled"] = None if sample.throttled is None else sorted(sample.throttled)
    for fault in plain["faults"]:
        fault["age_s"] = round(now - fault.pop("at_s"), 3)
    return plain


def _ours(gpu: GpuSample, shift_s: float, now: float) -> GpuSample:
    """On our clock, and bounded: some of it become labels."""
    return replace(
        gpu,
        uuid=gpu.uuid[:MAX_TEXT],
        name=gpu.name and gpu.name[:MAX_TEXT],
        recovery=gpu.recovery and gpu.recovery[:MAX_TEXT],
        taken_at=min(now, gpu.taken_at + shift_s),
        faults=tuple(replace(fault, at_s=fault.at_s + shift_s) for fault in gpu.faults[:MAX_FAULTS]),
    )
