"""What a page of NVIDIA's dcgm-exporter tells of the GPUs of its host.

    DCGM_FI_DEV_FB_FREE, _FB_USED, _FB_RESERVED, _FB_TOTAL       MiB
    DCGM_FI_DEV_GPU_UTIL                                         %
    DCGM_FI_DEV_GPU_TEMP                                         degrees Celsius
    DCGM_FI_DEV_POWER_USAGE, _POWER_MGMT_LIMIT                   W
    DCGM_FI_DEV_SM_CLOCK, _MEM_CLOCK, _MAX_SM_CLOCK              MHz
    DCGM_FI_DEV_CLOCK_THROTTLE_REASONS, _CLOCKS_EVENT_REASONS    a mask, numbered as NVML's
    DCGM_FI_DEV_ECC_SBE_VOL_TOTAL, _ECC_DBE_VOL_TOTAL            corrected and uncorrected errors since the driver was loaded
    DCGM_FI_DEV_ROW_REMAP_PENDING, _ROW_REMAP_FAILURE            0 or 1
    DCGM_FI_DEV_XID_ERRORS                                       the last Xid, or 0; it stays until another one comes

Series are labelled `gpu` (index), `UUID`, `modelName`, and for a MIG instance `GPU_I_ID`. By default the exporter tells no
throttle reasons and no ECC errors: its list of fields (etc/default-counters.csv) has them commented out. What DCGM can't read it
leaves out, or tells as a number near 2**63 or 2**31 (DCGM_INT64_BLANK and its like). Processes are not told.

Sources: NVIDIA/dcgm-exporter, README.md and etc/default-counters.csv; dcgm_fields.h of NVIDIA/DCGM.
"""

import re
from typing import Any, Final

from balancer.core.fleet.gpu import Faults, GpuSample, throttles

MAX_GPUS = 512
_MIB = 2**20
_BLANK = (
    2**31 - 17
)  # DCGM_INT32_BLANK is 0x7ffffff0, DCGM_INT64_BLANK 0x7ffffffffffffff0, DCGM_FP64_BLANK 140737488355328.0

_LINE: Final = re.compile(
    rb'^(DCGM_FI_DEV_\w++)\{((?:[^"{}\n]|"(?:[^"\\\n]|\\[^\n])*+")*+)\}[ \t]*+([^ \t\r\n]++)', re.MULTILINE
)
_LABEL: Final = re.compile(rb'([A-Za-z_][A-Za-z0-9_]*+)[ \t]*+=[ \t]*+"((?:[^"\\]|\\.)*+)"')

# field of the sample, and the unit in which the page tells it
_VALUES: Final[dict[bytes, tuple[str, float]]] = {
    b"FB_TOTAL": ("memory_total_bytes", _MIB),
    b"FB_USED": ("memory_used_bytes", _MIB),
    b"FB_FREE": ("memory_free_bytes", _MIB),
    b"FB_RESERVED": ("memory_reserved_bytes", _MIB),
    b"GPU_UTIL": ("utilization", 0.01),
    b"GPU_TEMP": ("temperature_c", 1),
    b"POWER_USAGE": ("power_w", 1),
    b"POWER_MGMT_LIMIT": ("power_limit_w", 1),
    b"SM_CLOCK": ("sm_clock_hz", 1e6),
    b"MAX_SM_CLOCK": ("sm_clock_max_hz", 1e6),
    b"MEM_CLOCK": ("memory_clock_hz", 1e6),
    b"CLOCK_THROTTLE_REASONS": ("throttled", 1),
    b"CLOCKS_EVENT_REASONS": ("throttled", 1),
    b"ECC_SBE_VOL_TOTAL": ("ecc_corrected", 1),
    b"ECC_DBE_VOL_TOTAL": ("ecc_uncorrected", 1),
    b"ROW_REMAP_PENDING": ("remap_pending", 1),
    b"ROW_REMAP_FAILURE": ("remap_failed", 1),
    b"XID_ERRORS": ("last_xid", 1),
}
_FLOATS: Final = frozenset(
    {
        "utilization",
        "temperature_c",
        "power_w",
        "power_limit_w",
        "sm_clock_hz",
        "sm_clock_max_hz",
        "memory_clock_hz",
    }
)


class DcgmPage:
    """Reads the pages of one exporter, and remembers what they counted."""

    def __init__(self) -> None:
        self._faults: dict[str, Faults] = {}

    def read(self, page: bytes, now: float) -> tuple[GpuSample, ...]:
        """Any bytes will do: what is no such page tells of no GPUs."""
        found: dict[str, dict[str, Any]] = {}
        for field, labels, text in _LINE.findall(page):
            name, unit = _VALUES.get(field.removeprefix(b"DCGM_FI_DEV_"), ("", 1))
            value = _number(text)
            if not name or value is None:
                continue
            known = {key: _text(label) for key, label in _LABEL.findall(labels)}
            uuid, instance = known.get(b"UUID"), known.get(b"GPU_I_ID")
            if not uuid:
                continue
            key = f"{uuid}/{instance}" if instance else uuid
            if key not in found and len(found) >= MAX_GPUS:
                continue
            sample = found.setdefault(key, {"uuid": key, "mig": bool(instance)})
            index = known.get(b"gpu", "")
            if index.isascii() and index.isdigit() and not instance:
                sample["index"] = int(index[:6])
            sample["name"] = known.get(b"modelName")
            sample[name] = value * unit
        self._faults = {key: self._faults.get(key) or Faults() for key in found}
        return tuple(self._sample(self._faults[key], values, now) for key, values in found.items())

    def _sample(self, faults: Faults, values: dict[str, Any], now: float) -> GpuSample:
        last_xid = values.pop("last_xid", None)
        for name, value in values.items():
            if isinstance(value, float) and name not in _FLOATS:
                values[name] = round(value)
        for flag in ("remap_pending", "remap_failed"):
            if flag in values:
                values[flag] = bool(values[flag])
        if "throttled" in values:
            values["throttled"] = throttles(values["throttled"])
        used, free = values.get("memory_used_bytes"), values.get("memory_free_bytes")
        if used is not None and free is not None:
            total = used + free + values.get("memory_reserved_bytes", 0)
            values.setdefault("memory_total_bytes", total)
        faults.saw_uncorrected(values.get("ecc_uncorrected"), now)
        faults.saw_last_xid(None if last_xid is None else round(last_xid), now)
        return GpuSample(taken_at=now, faults=faults.all(), **values)


def _number(text: bytes) -> float | None:
    """A number from 0 on that is none of DCGM's for "not known"."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < _BLANK else None


def _text(label: bytes) -> str:
    """Bounded: it becomes a label of ours."""
    return label.decode(errors="replace")[:96]
