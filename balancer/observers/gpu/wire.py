"""Samples as JSON, between `balancer agent` and a balancer. Clocks differ, so times are told as ages.

{"version": 1, "host": "gpu-a", "driver": "580.159.04", "problem": null, "gpus": [GPU, ...]}

A GPU has the fields of GpuSample, without those that are not known, and `age_s` in the place of `taken_at`, as have its faults in
the place of `at_s`. Fields that are not known here are passed over.
"""

from dataclasses import fields
from typing import Any

import msgspec

from balancer.core.fleet.gpu import Fault, GpuSample, ProcessUse, Throttle

MAX_GPUS = 512
MAX_TEXT = 96
VERSION = 1


class _Fault(msgspec.Struct):
    xid: int | None
    times: int
    age_s: float


class _Process(msgspec.Struct):
    pid: int
    used_bytes: int | None = None
    ports: list[int] = []


class _Gpu(msgspec.Struct, omit_defaults=True):
    uuid: str
    age_s: float
    index: int | None = None
    name: str | None = None
    mig: bool = False
    lost: bool = False
    unified: bool = False
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    memory_free_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    utilization: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    sm_clock_hz: float | None = None
    sm_clock_max_hz: float | None = None
    memory_clock_hz: float | None = None
    throttled: list[str] | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    recovery: str | None = None
    faults: list[_Fault] = []
    processes: list[_Process] | None = None


class _Page(msgspec.Struct):
    version: int
    gpus: list[_Gpu]
    host: str = ""
    driver: str | None = None
    problem: str | None = None


_SAME = tuple(
    each.name
    for each in fields(GpuSample)
    if each.name not in {"taken_at", "throttled", "faults", "processes"}
)
_page = msgspec.json.Decoder(_Page)
_KNOWN = {reason.value: reason for reason in Throttle}


def written(
    samples: tuple[GpuSample, ...], now: float, *, host: str, driver: str | None, problem: str | None
) -> bytes:
    return msgspec.json.encode(
        _Page(VERSION, [_written(sample, now) for sample in samples], host, driver, problem)
    )


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
    return told.host[:MAX_TEXT], tuple(_read(gpu, now) for gpu in told.gpus[:MAX_GPUS])


def as_json(sample: GpuSample, now: float) -> dict[str, Any]:
    """For pages that are made of more."""
    plain: dict[str, Any] = msgspec.to_builtins(_written(sample, now))
    return plain


def _written(sample: GpuSample, now: float) -> _Gpu:
    processes = sample.processes
    return _Gpu(
        age_s=round(now - sample.taken_at, 3),
        throttled=None if sample.throttled is None else sorted(sample.throttled),
        faults=[_Fault(fault.xid, fault.times, round(now - fault.at_s, 3)) for fault in sample.faults],
        processes=None
        if processes is None
        else [_Process(p.pid, p.used_bytes, list(p.ports)) for p in processes],
        **{name: getattr(sample, name) for name in _SAME},
    )


def _read(gpu: _Gpu, now: float) -> GpuSample:
    known = {name: getattr(gpu, name) for name in _SAME}
    for name in ("uuid", "name", "recovery"):
        known[name] = known[name] and known[name][:MAX_TEXT]
    return GpuSample(
        taken_at=now - max(0.0, gpu.age_s),
        throttled=None
        if gpu.throttled is None
        else frozenset(_KNOWN[reason] for reason in gpu.throttled if reason in _KNOWN),
        faults=tuple(Fault(each.xid, each.times, now - each.age_s) for each in gpu.faults),
        processes=None
        if gpu.processes is None
        else tuple(ProcessUse(each.pid, each.used_bytes, tuple(each.ports)) for each in gpu.processes),
        **known,
    )
