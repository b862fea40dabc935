"""What is known of GPUs, and what it says of the replicas on them.

    lost        the driver says that the GPU is lost, or wants a reset (NVML), or Xid 79              last of all
    sick        the driver asks for a reset or reboot; or, since the replica's engine began: an Xid   after all others
                of FATAL_XIDS, or an uncorrectable ECC error
    throttled   its clocks are down by a thermal or power brake                                       predicted slower
    sound       none of these

What a fault broke is mended by restarting the engine, resetting the GPU or rebooting, and the engine begins anew with each: so a
fault counts against the engine that was there when it came, and against none that began later. What was there when somebody
began to look (errors that a counter already held) is shown and not judged; whoever begins to look anew knows no more than that,
and what the driver still asks for. Utilisation never counts: it is near 100 % whenever an engine decodes. Nor does a power cap
(sw_power_cap): on an H200 that multiplies matrices it is the usual state.

Memory: an engine that takes it as it goes can hold no more than it has and what is free.

    share = least over its GPUs of  min(1, (own + free) / the most that was its own)

So what others take shrinks it, and an engine that took all at its start, as vLLM does, keeps what it has.

Sources: NVML API reference (nvmlClocksEventReasons, nvmlReturn_t, nvmlDeviceGpuRecoveryAction_t); NVIDIA's Xid catalog
(docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple

GPU_MAX_AGE_S = 30.0
"""An older reading says nothing about a GPU now."""
MAX_FAULTS = 64
"""Kinds of faults that are kept of one GPU, the latest."""

MOST_SLOW = 8.0
CLOCK_MEMORY = 0.2
"""Share of the latest reading in the usual clock."""
SAME_START_S = 1.0
"""Told from wall clocks, the start of an engine moves about so much."""
NEWS = 0.1
"""Of slowness and share, smaller relative changes are passed over."""

LOST_XIDS = frozenset({79})
"""The GPU has fallen off the bus."""
FATAL_XIDS = LOST_XIDS | {46, 48, 62, 64, 74, 94, 95, 110, 119, 120, 136, 140, 143, 155, 156, 158, 160}
"""Xids whose first remedy in the catalog is a reset of the GPU or a reboot; NVLink errors (74); and contained ECC errors (94),
after which the application, here the engine, must be restarted. Without 109 (context switch timeout), which NVIDIA's own device
plugin for Kubernetes takes for the application's error, as 13, 31, 43, 45 and 68, and without 144 to 150 (NVLink 5), of which
only a code within tells whether they were corrected; NVML does not pass it on.
"""


class Throttle(StrEnum):
    """Why clocks are below their maximum; the value is NVML's and DCGM's name in short."""

    IDLE = "idle"
    APPLICATIONS_CLOCKS = "applications_clocks"
    SW_POWER_CAP = "sw_power_cap"
    HW_SLOWDOWN = "hw_slowdown"
    SYNC_BOOST = "sync_boost"
    SW_THERMAL = "sw_thermal"
    HW_THERMAL = "hw_thermal"
    HW_POWER_BRAKE = "hw_power_brake"
    DISPLAY_CLOCK = "display_clock"


BRAKES = frozenset({Throttle.HW_SLOWDOWN, Throttle.SW_THERMAL, Throttle.HW_THERMAL, Throttle.HW_POWER_BRAKE})


def throttles(bits: int) -> frozenset[Throttle]:
    """The reasons of a mask, as nvmlClocksEventReasons and DCGM_CLOCKS_THROTTLE_REASON number them: in the order above."""
    return frozenset(reason for place, reason in enumerate(Throttle) if bits >> place & 1)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that broke, so many `times`, the last time at `at_s`. `xid` is None for an uncorrectable ECC error."""

    xid: int | None
    times: int
    at_s: float

    @property
    def name(self) -> str:
        return "an uncorrectable ECC error" if self.xid is None else f"Xid {self.xid}"


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """A process that computes on a GPU. `used_bytes` is None where the driver does not tell (WSL). `ports` are those on which
    it, or a process that it descends from, listens.
    """

    pid: int
    used_bytes: int | None = None
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One reading of a GPU, or of a MIG instance of one: then memory and processes are its own, the rest its GPU's.

    None: not readable. `unified`: its memory is the system's, and the figures are those of the system. ECC counters count since
    the driver was loaded.
    """

    uuid: str
    taken_at: float
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
    throttled: frozenset[Throttle] | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    recovery: str | None = None  # what the driver asks for, "none" included
    faults: tuple[Fault, ...] = ()
    processes: tuple[ProcessUse, ...] | None = None

    def own_bytes(self, port: int) -> int | None:
        """What the processes behind this port have here; None if there are none, or it is not known."""
        used = [each.used_bytes for each in self.processes or () if port in each.ports]
        known = [size for size in used if size is not None]
        return sum(known) if known and len(known) == len(used) else None


class Faults:
    """What broke on one GPU while somebody looked: each kind with its count and its last time."""

    def __init__(self) -> None:
        self._found: dict[int | None, Fault] = {}
        self._uncorrected: int | None = None
        self._last_xid: int | None = None

    def all(self) -> tuple[Fault, ...]:
        return tuple(self._found.values())

    def add(self, xid: int | None, now: float) -> None:
        before = self._found.pop(xid, None)
        self._found[xid] = Fault(xid, 1 + (before.times if before else 0), now)
        if len(self._found) > MAX_FAULTS:
            del self._found[next(iter(self._found))]

    def saw_uncorrected(self, count: int | None, now: float) -> None:
        """The counter of ECC errors. One that fell began anew, with the driver."""
        if count is None:
            return
        if self._uncorrected is not None and count > self._uncorrected:
            self.add(None, now)
        self._uncorrected = count

    def saw_last_xid(self, xid: int | None, now: float) -> None:
        """Of a source that goes on telling the last Xid, or 0: only another one is news."""
        if xid is None:
            return
        if self._last_xid is not None and xid not in {0, self._last_xid}:
            self.add(xid, now)
        self._last_xid = xid


class Condition(IntEnum):
    """The worse, the greater."""

    SOUND = 0
    THROTTLED = 1
    SICK = 2
    LOST = 3


class OwnGpu(NamedTuple):
    """A GPU of a replica, and what the replica's own processes have there, where that is known."""

    sample: GpuSample
    own_bytes: int | None


class GpuState(NamedTuple):
    """What the GPUs of a replica say of it; none are there if nothing is known. `slow` is how many times longer the slowest
    takes to compute than it did before its brake, by its clock; `share` is of what the engine could hold.
    """

    condition: Condition = Condition.SOUND
    why: str = ""
    gpus: tuple[OwnGpu, ...] = ()
    slow: float = 1.0
    share: float = 1.0

    @property
    def ailing(self) -> bool:
        """Whether others go before it."""
        return self.condition >= Condition.SICK


UNKNOWN = GpuState()


class GpuReading(NamedTuple):
    """What one source told last: the GPUs of a host. `host` is empty for this one."""

    host: str
    taken_at: float
    samples: tuple[GpuSample, ...]

    def fresh(self, now: float) -> bool:
        return now - self.taken_at <= GPU_MAX_AGE_S


class ReplicaGpus:
    """The GPUs of one replica over time: what their clocks are without a brake, and the most memory that was its own."""

    def __init__(self) -> None:
        self._clocks: dict[str, float] = {}
        self._most: dict[str, int] = {}
        self._since_s = float("-inf")
        self._slow = 1.0
        self._share = 1.0

    def judge(self, samples: Sequence[GpuSample], port: int, since_s: float) -> GpuState:
        """`since_s` is when the engine began, as far as that is known."""
        if since_s > self._since_s + SAME_START_S:
            self._since_s = since_s
            self._most.clear()
        gpus = tuple(OwnGpu(sample, sample.own_bytes(port)) for sample in samples)
        condition, why = max(
            (_condition(sample, since_s) for sample in samples),
            key=lambda found: found[0],
            default=(Condition.SOUND, ""),
        )
        slow = max((self._slowness(sample) for sample in samples), default=1.0)
        self._slow = _settled(self._slow, slow)
        self._share = _settled(self._share, min(map(self._left, gpus), default=1.0))
        return GpuState(condition, why, gpus, self._slow, self._share)

    def _slowness(self, sample: GpuSample) -> float:
        clock, reasons = sample.sm_clock_hz, sample.throttled
        if clock is None or reasons is None or clock <= 0 or Throttle.IDLE in reasons:
            return 1.0
        usual = self._clocks.get(sample.uuid)
        if reasons & BRAKES:
            return 1.0 if usual is None else min(max(usual / clock, 1.0), MOST_SLOW)
        self._clocks[sample.uuid] = clock if usual is None else usual + CLOCK_MEMORY * (clock - usual)
        return 1.0

    def _left(self, gpu: OwnGpu) -> float:
        own, free = gpu.own_bytes, gpu.sample.memory_free_bytes
        if own is None or free is None:
            return 1.0
        most = self._most[gpu.sample.uuid] = max(own, self._most.get(gpu.sample.uuid, 0))
        return min(1.0, (own + free) / most) if most else 1.0


def _settled(before: float, now: float) -> float:
    """Small changes are passed over, but for the last one back to 1."""
    return now if now == 1.0 or abs(now - before) > NEWS * before else before


def _condition(sample: GpuSample, since_s: float) -> tuple[Condition, str]:
    gpu = sample.uuid if sample.index is None else f"GPU {sample.index}"
    if sample.lost:
        return Condition.LOST, f"{gpu} is lost"
    found = [fault for fault in sample.faults if fault.at_s >= since_s]
    for fault in found:
        if fault.xid in LOST_XIDS:
            return Condition.LOST, f"{gpu}: {fault.name}"
    if sample.recovery not in {None, "none"}:
        return Condition.SICK, f"{gpu}: the driver asks for {sample.recovery}"
    for fault in reversed(found):
        if fault.xid is None or fault.xid in FATAL_XIDS:
            return Condition.SICK, f"{gpu}: {fault.name}"
    brakes = sorted((sample.throttled or frozenset()) & BRAKES)
    if brakes:
        return Condition.THROTTLED, f"{gpu}: {', '.join(brakes)}"
    return Condition.SOUND, ""
