"""GPUs, by the replica whose they are (empty: nobody's) and their UUID. What can't be read has no series.

A GPU that several replicas share has a series for each of them. Labels are bounded by the hardware.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from balancer.accounting.exposition import Family, Samples, counter, gauge, info, written
from balancer.core.fleet.gpu import Condition, GpuReading, GpuSample, Throttle
from balancer.core.fleet.replica import ReplicaState

_Rows = list[tuple[GpuSample, tuple[str, str]]]


def _of_gpu(name: str, told: str, *labels: str) -> Family:
    return gauge(name, told, "replica", "gpu", *labels)


def _counted(name: str, told: str, *labels: str) -> Family:
    return counter(name, told, "replica", "gpu", *labels)


_INFO = info(
    "balancer_gpu",
    "1 for each GPU and MIG instance; host is empty for the balancer's own, and memory is unified where it is the system's.",
    "replica",
    "gpu",
    "index",
    "name",
    "host",
    "memory",
)
_AGE = _of_gpu("balancer_gpu_sample_age_seconds", "How long ago the GPU was last read.")
_LOST = _of_gpu("balancer_gpu_lost", "1 while the driver says that the GPU is lost or must be reset.")
_MEMORY = _of_gpu(
    "balancer_gpu_memory_bytes", "Memory of the GPU: total, used, free, and reserved by the driver.", "kind"
)
_CLOCK = _of_gpu("balancer_gpu_clock_hertz", "Clocks of the GPU: sm, memory, and sm_max, the most.", "clock")
_THROTTLED = _of_gpu(
    "balancer_gpu_throttled",
    "1 while clocks are below their maximum for this reason, by NVML's names.",
    "reason",
)
_ECC = _counted(
    "balancer_gpu_ecc_errors", "ECC errors since the driver was loaded: corrected, uncorrected.", "kind"
)
_REMAPPING = _of_gpu(
    "balancer_gpu_row_remapping",
    "1 while rows of memory wait to be remapped (pending: a reset does it), or could not be (failed: replace the GPU).",
    "state",
)
_XIDS = _counted("balancer_gpu_xid_errors", "Xids that came while somebody looked.", "xid")
_RECOVERY = _of_gpu(
    "balancer_gpu_recovery_action", "1 for what the driver asks for, none included.", "action"
)
_FIGURES = {
    "utilization": _of_gpu("balancer_gpu_utilization_ratio", "Share of the time in which a kernel ran."),
    "temperature_c": _of_gpu("balancer_gpu_temperature_celsius", "Temperature of the GPU."),
    "power_w": _of_gpu("balancer_gpu_power_watts", "Power that it draws."),
    "power_limit_w": _of_gpu("balancer_gpu_power_limit_watts", "Power that it may draw."),
}
_CONDITION = gauge(
    "balancer_replica_gpu_condition",
    "1 for what its GPUs say of the replica: sound, throttled, sick, lost.",
    "replica",
    "condition",
)
_SHARE = gauge(
    "balancer_replica_gpu_memory_share",
    "Of what the engine could hold, what others on its GPUs leave it.",
    "replica",
)
_SLOWNESS = gauge(
    "balancer_replica_gpu_slowness",
    "How many times longer its slowest GPU takes to compute than before its brake, by its clock.",
    "replica",
)
_OWN_MEMORY = _of_gpu(
    "balancer_gpu_process_memory_bytes", "Memory of the replica's own processes on the GPU."
)


def families(
    readings: Mapping[str, GpuReading], replicas: Iterable[ReplicaState], now: float
) -> Iterator[Samples]:
    """`readings` of all sources, by address."""
    owners: defaultdict[str, list[str]] = defaultdict(list)
    states = [replica for replica in replicas if replica.gpu.gpus]
    for replica in states:
        for own in replica.gpu.gpus:
            owners[own.sample.uuid].append(replica.id)
    hosts: list[str] = []
    rows: _Rows = []
    for reading in readings.values():
        for sample in reading.samples:
            for owner in owners.get(sample.uuid) or ("",):
                hosts.append(reading.host)
                rows.append((sample, (owner, sample.uuid)))
    yield (
        _INFO,
        [
            ((*key, *_identity(sample), host, "unified" if sample.unified else "own"), 1.0)
            for host, (sample, key) in zip(hosts, rows, strict=True)
        ],
    )
    yield _AGE, [(key, max(0.0, now - sample.taken_at)) for sample, key in rows]
    yield _LOST, [(key, float(sample.lost)) for sample, key in rows]
    yield from _figures(rows)
    yield from _errors(rows)
    yield from _replicas(states)


def _figures(rows: _Rows) -> Iterator[Samples]:
    kinds = ("total", "used", "free", "reserved")
    yield _MEMORY, _parts(rows, {kind: f"memory_{kind}_bytes" for kind in kinds})
    yield (
        _CLOCK,
        _parts(rows, {"sm": "sm_clock_hz", "sm_max": "sm_clock_max_hz", "memory": "memory_clock_hz"}),
    )
    yield (
        _THROTTLED,
        [
            ((*key, reason.value), float(reason in sample.throttled))
            for sample, key in rows
            if sample.throttled is not None
            for reason in Throttle
        ],
    )
    for field, family in _FIGURES.items():
        values = [(key, getattr(sample, field)) for sample, key in rows]
        yield family, [(key, value) for key, value in values if value is not None]


def _errors(rows: _Rows) -> Iterator[Samples]:
    yield _ECC, _parts(rows, {"corrected": "ecc_corrected", "uncorrected": "ecc_uncorrected"})
    yield _REMAPPING, _parts(rows, {"pending": "remap_pending", "failed": "remap_failed"})
    yield (
        _XIDS,
        [
            ((*key, str(fault.xid)), fault.times)
            for sample, key in rows
            for fault in sample.faults
            if fault.xid is not None
        ],
    )
    yield _RECOVERY, [((*key, sample.recovery), 1.0) for sample, key in rows if sample.recovery]


def _replicas(states: list[ReplicaState]) -> Iterator[Samples]:
    yield (
        _CONDITION,
        [
            ((replica.id, each.name.lower()), float(replica.gpu.condition is each))
            for replica in states
            for each in Condition
        ],
    )
    yield _SHARE, [((replica.id,), replica.gpu.share) for replica in states]
    yield _SLOWNESS, [((replica.id,), replica.gpu.slow) for replica in states]
    yield (
        _OWN_MEMORY,
        [
            ((replica.id, own.sample.uuid), own.own_bytes)
            for replica in states
            for own in replica.gpu.gpus
            if own.own_bytes is not None
        ],
    )


def _parts(rows: _Rows, fields: Mapping[str, str]) -> list[tuple[Sequence[str], float]]:
    found = [((*key, part), getattr(sample, field)) for sample, key in rows for part, field in fields.items()]
    return [(labels, float(value)) for labels, value in found if value is not None]


def _identity(sample: GpuSample) -> tuple[str, str]:
    return "" if sample.index is None else str(sample.index), sample.name or ""


def page(readings: Mapping[str, GpuReading], now: float, accept: str) -> tuple[bytes, str]:
    """A page of GPUs alone, nobody's, and its content type by what the scraper accepts."""
    return written(families(readings, (), now), accept)
