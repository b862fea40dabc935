"""What NVML tells of the GPUs of this host, as samples.

Each value is asked for on its own, and absent where it can not be had. Handles are taken anew each time: they do not outlive a
reset. A GPU that was there and is no more counts as lost; one whose identity can't be told just now is left out. MIG instances
are samples of their own, with what is only known of the whole GPU. A call took 5 us to 5 ms on an H200 (tests/data/nvml).
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from balancer.core.fleet.gpu import GpuSample, ProcessUse, throttles
from balancer.observers.gpu.nvml import Gpu, LostError, Nvml, load
from balancer.observers.gpu.processes import Listeners

log = logging.getLogger("balancer.gpu")

MAX_GPUS = 64

_NOT_AVAILABLE = frozenset({2**64 - 1, 2**32 - 1})  # NVML_VALUE_NOT_AVAILABLE
_SM, _MEMORY = 1, 2  # nvmlClockType_t
_CORRECTED, _UNCORRECTED, _VOLATILE = 0, 1, 0  # nvmlMemoryErrorType_t, nvmlEccCounterType_t
_RECOVERY_FIELD = 230  # NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
_RECOVERIES = (
    "none",
    "gpu_reset",
    "node_reboot",
    "drain_p2p",
    "drain_and_reset",
    "recover_imex_domain",
    "bus_reset",
    "system_reboot",
)
_UNIFIED = ("GB10", "Orin", "Xavier", "Thor", "Tegra", "nvgpu")
"""GPUs whose memory is the system's; NVML tells no figures of it."""


class NvmlReader:
    """`load` gives what has pynvml's functions."""

    def __init__(self, load: Callable[[], Any] = load, proc: Path = Path("/proc")) -> None:
        self._nvml = Nvml(load)
        self._proc = proc
        self._known: dict[str, Gpu] = {}
        self._begun = 0

    @property
    def driver(self) -> str | None:
        return self._nvml.driver

    def close(self) -> None:
        self._nvml.end()

    def read(self) -> tuple[GpuSample, ...]:
        """All GPUs and MIG instances. Raises: UnreadableError."""
        nvml, listeners, now = self._nvml, Listeners(self._proc), monotonic()
        nvml.begin()
        if nvml.begun != self._begun:
            self._begun = nvml.begun
            for gpu in self._known.values():
                gpu.watched = False
        handles = self._handles(nvml.count())
        for uuid, xid in nvml.xids():
            if uuid in self._known:
                self._known[uuid].faults.add(xid, now)
                log.warning("%s: Xid %d", self._known[uuid], xid)
        samples: list[GpuSample] = []
        for gpu, handle in handles.items():
            try:
                if handle is None:
                    samples.append(self._lost(gpu, "it does not answer", now))
                else:
                    samples += self._samples(gpu, handle, listeners, now)
            except LostError as error:
                samples.append(self._lost(gpu, str(error), now))
        return tuple(samples)

    def _handles(self, count: int) -> dict[Gpu, Any]:
        """By GPU, in the order of indexes; None for one that is lost. Raises: UnreadableError."""
        found: dict[Gpu, Any] = {}
        unsure: set[Gpu] = set()
        for index in range(min(count, MAX_GPUS)):
            before = next((gpu for gpu in self._known.values() if gpu.index == index), None)
            try:
                handle, uuid = self._nvml.identity("nvmlDeviceGetHandleByIndex", index)
            except LostError:
                continue
            except LookupError as error:
                if before is None:
                    log.debug("GPU %d: %s", index, error)
                else:
                    unsure.add(before)
                    self._nvml.note(before, "identity", str(error))
                continue
            gpu = self._known.setdefault(uuid, Gpu(uuid, index))
            gpu.index = index
            found[gpu] = handle
        for gpu in self._known.values():
            if gpu not in found and gpu not in unsure:
                found[gpu] = None
        return found

    def _lost(self, gpu: Gpu, why: str, now: float) -> GpuSample:
        if not gpu.lost:
            log.warning("%s is lost: %s", gpu, why)
        gpu.lost, gpu.watched = True, False
        return GpuSample(gpu.uuid, now, gpu.index, gpu.name, lost=True, faults=gpu.faults.all())

    def _samples(self, gpu: Gpu, handle: Any, listeners: Listeners, now: float) -> list[GpuSample]:
        """The GPU, and its MIG instances. Raises: LostError, UnreadableError."""
        nvml = self._nvml
        if gpu.name is None:
            gpu.name = _text(nvml.ask(gpu, "name", "nvmlDeviceGetName", handle))
        if not gpu.watched:
            nvml.watch(gpu, handle)
        whole = self._whole(gpu, handle, listeners, now)
        if gpu.lost:
            gpu.lost = False
            log.info("%s is back", gpu)
        modes = nvml.ask(gpu, "MIG mode", "nvmlDeviceGetMigMode", handle)
        if _flags(modes, 2)[0] is not True:
            return [whole]
        samples: list[GpuSample] = []
        most = nvml.ask(gpu, "number of MIG instances", "nvmlDeviceGetMaxMigDeviceCount", handle)
        for place in range(min(_number(most) or 0, MAX_GPUS)):
            try:
                instance, uuid = nvml.identity("nvmlDeviceGetMigDeviceHandleByIndex", handle, place)
            except LookupError:  # most places are empty
                continue
            samples.append(self._instance(gpu, whole, instance, uuid, listeners))
        # its processes are those of the instances
        return [replace(whole, processes=None), *samples] if samples else [whole]

    def _whole(self, gpu: Gpu, handle: Any, listeners: Listeners, now: float) -> GpuSample:
        nvml = self._nvml

        def number(what: str, call: str, *more: Any) -> int | None:
            return _number(nvml.ask(gpu, what, call, handle, *more))

        if gpu.sm_clock_max_hz is None:
            gpu.sm_clock_max_hz = _scaled(number("greatest SM clock", "nvmlDeviceGetMaxClockInfo", _SM), 1e6)
        rates = nvml.ask(gpu, "utilisation", "nvmlDeviceGetUtilizationRates", handle)
        reasons = nvml.first(
            gpu,
            "throttle reasons",
            ("nvmlDeviceGetCurrentClocksEventReasons", handle),
            ("nvmlDeviceGetCurrentClocksThrottleReasons", handle),  # before R535
        )
        uncorrected = number("uncorrected ECC errors", "nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _VOLATILE)
        gpu.faults.saw_uncorrected(uncorrected, now)
        rows = _flags(nvml.ask(gpu, "remapped rows", "nvmlDeviceGetRemappedRows", handle), 4)
        return GpuSample(
            uuid=gpu.uuid,
            taken_at=now,
            index=gpu.index,
            name=gpu.name,
            utilization=_scaled(_number(getattr(rates, "gpu", None)), 0.01),
            temperature_c=number("temperature", "nvmlDeviceGetTemperature", 0),
            power_w=_scaled(number("power", "nvmlDeviceGetPowerUsage"), 1e-3),
            power_limit_w=_scaled(number("power limit", "nvmlDeviceGetEnforcedPowerLimit"), 1e-3),
            sm_clock_hz=_scaled(number("SM clock", "nvmlDeviceGetClockInfo", _SM), 1e6),
            sm_clock_max_hz=gpu.sm_clock_max_hz,
            memory_clock_hz=_scaled(number("memory clock", "nvmlDeviceGetClockInfo", _MEMORY), 1e6),
            throttled=throttles(reasons) if _number(reasons) is not None else None,
            ecc_corrected=number(
                "corrected ECC errors", "nvmlDeviceGetTotalEccErrors", _CORRECTED, _VOLATILE
            ),
            ecc_uncorrected=uncorrected,
            remap_pending=rows[2],
            remap_failed=rows[3],
            recovery=self._recovery(gpu, handle),
            faults=gpu.faults.all(),
            processes=self._processes(gpu, handle, listeners),
            **self._memory(gpu, handle),
        )

    def _instance(
        self, gpu: Gpu, whole: GpuSample, instance: Any, uuid: str, listeners: Listeners
    ) -> GpuSample:
        """What is its own, and of the rest what holds for it as well: not power and utilisation."""
        name = self._nvml.ask(gpu, "name of a MIG instance", "nvmlDeviceGetName", instance)
        return GpuSample(
            uuid=uuid,
            taken_at=whole.taken_at,
            name=_text(name) or whole.name,
            mig=True,
            temperature_c=whole.temperature_c,
            sm_clock_hz=whole.sm_clock_hz,
            sm_clock_max_hz=whole.sm_clock_max_hz,
            memory_clock_hz=whole.memory_clock_hz,
            throttled=whole.throttled,
            remap_pending=whole.remap_pending,
            remap_failed=whole.remap_failed,
            recovery=whole.recovery,
            faults=whole.faults,
            processes=self._processes(gpu, instance, listeners),
            **self._memory(gpu, instance),
        )

    def _memory(self, gpu: Gpu, handle: Any) -> dict[str, Any]:
        """Fields of a sample. By the older call, what the driver keeps for itself is among what is used."""
        call, version = "nvmlDeviceGetMemoryInfo", getattr(self._nvml.lib, "nvmlMemory_v2", None)
        found = None
        if version is not None:
            found = self._nvml.ask(gpu, "reserved memory", call, handle, version)
        if found is None:
            found = self._nvml.ask(gpu, "memory", call, handle)
        sizes = {part: _number(getattr(found, part, None)) for part in ("total", "used", "free", "reserved")}
        unified = not sizes["total"] and any(word in (gpu.name or "") for word in _UNIFIED)
        if unified:
            sizes = self._system_memory()
        elif not sizes["total"]:
            return {}
        return {f"memory_{part}_bytes": size for part, size in sizes.items()} | {"unified": unified}

    def _system_memory(self) -> dict[str, int | None]:
        try:
            lines = (self._proc / "meminfo").read_text().splitlines()
            kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
            total, free = kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024
        except (OSError, ValueError, LookupError):
            return {}
        return {"total": total, "free": free, "used": total - free}

    def _recovery(self, gpu: Gpu, handle: Any) -> str | None:
        found = self._nvml.ask(gpu, "recovery action", "nvmlDeviceGetFieldValues", handle, [_RECOVERY_FIELD])
        if found is None:
            return None
        try:
            why = int(found[0].nvmlReturn)
            action = int(found[0].value.uiVal)
        except (TypeError, LookupError, AttributeError, ValueError):
            why, action = -1, 0
        if why:
            self._nvml.note(gpu, "recovery action", f"error {why}" if why > 0 else "no value")
            return None
        return _RECOVERIES[action] if action < len(_RECOVERIES) else f"action_{action}"

    def _processes(self, gpu: Gpu, handle: Any, listeners: Listeners) -> tuple[ProcessUse, ...] | None:
        found = self._nvml.first(
            gpu,
            "processes",
            ("nvmlDeviceGetComputeRunningProcesses", handle),
            ("nvmlDeviceGetComputeRunningProcesses_v2", handle),  # before R510
        )
        if not isinstance(found, list):
            return None
        return tuple(
            ProcessUse(pid, _number(getattr(each, "usedGpuMemory", None)), listeners.ports(pid))
            for each in found
            if (pid := _number(getattr(each, "pid", None))) is not None
        )


def _number(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 and value not in _NOT_AVAILABLE else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _flags(values: Any, count: int) -> list[bool | None]:
    """So many numbers, each by whether it is one or more."""
    if not isinstance(values, list | tuple) or len(values) != count:
        return [None] * count
    return [None if _number(value) is None else value > 0 for value in values]


def _scaled(value: int | None, unit: float) -> float | None:
    return None if value is None else value * unit
