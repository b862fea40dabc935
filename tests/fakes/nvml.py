"""pynvml as the reader knows it, answering as a real H200 did (tests/data/nvml), with faults on any call.

`faults` maps a call to what happens instead: an exception to raise, a value to return, or a function of the arguments.
"""

# ruff: noqa: N802 - the names are NVML's

import json
from pathlib import Path
from types import SimpleNamespace

import pynvml

H200 = json.loads((Path(__file__).parents[1] / "data/nvml/h200.json").read_text())
ERRORS = {
    "not supported": pynvml.NVML_ERROR_NOT_SUPPORTED,
    "no permission": pynvml.NVML_ERROR_NO_PERMISSION,
    "function not found": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    "invalid argument": pynvml.NVML_ERROR_INVALID_ARGUMENT,
    "unknown": pynvml.NVML_ERROR_UNKNOWN,
    "timeout": pynvml.NVML_ERROR_TIMEOUT,
    "no data": pynvml.NVML_ERROR_NO_DATA,
}
LOST = pynvml.NVML_ERROR_GPU_IS_LOST
RESET_REQUIRED = pynvml.NVML_ERROR_RESET_REQUIRED
UNINITIALIZED = pynvml.NVML_ERROR_UNINITIALIZED
NOT_LOADED = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
NO_LIBRARY = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
MISMATCH = pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH


def error(code):
    return pynvml.NVMLError(code)


class Device(str):
    """A handle: the UUID."""

    __slots__ = ()


class Event(SimpleNamespace):
    pass


class FakeNvml:
    nvmlMemory_v2 = pynvml.nvmlMemory_v2  # noqa: N815 - NVML's name

    def __init__(self, gpus=1, state="busy"):
        self.uuids = [f"GPU-{number}" for number in range(gpus)]
        self.told = {name: each["value"] for name, each in H200[state].items() if isinstance(each, dict)}
        self.faults = {}
        self.calls = []
        self.xids = []
        self.registered = []
        self.initialised = 0
        self.mig = {}  # UUIDs of instances, by GPU
        self.processes = {}  # (pid, bytes) pairs, by UUID
        self.memory = {}  # totals, by UUID
        self.uncorrected = {}
        self.throttle = {}
        self.sm_clock = {}
        self.recovery = {}

    def lose(self, uuid, code=LOST):
        """Every call on it fails from now on, as after Xid 79."""
        self.faults["*", uuid] = error(code)

    def find(self, uuid):
        del self.faults["*", uuid]

    def __getattr__(self, name):
        if not name.startswith("nvml"):
            raise AttributeError(name)
        answer = type(self).__dict__.get(f"_{name}")
        if answer is None:
            raise AttributeError(name)

        def call(*arguments):
            self.calls.append(name)
            handle = arguments[0] if arguments and isinstance(arguments[0], Device) else None
            for key in (name, ("*", handle)):
                if key in self.faults:
                    fault = self.faults[key]
                    if isinstance(fault, Exception):
                        raise fault
                    return fault(*arguments) if callable(fault) else fault
            if not self.initialised and name != "nvmlInit":
                raise error(UNINITIALIZED)
            return answer(self, *arguments)

        return call

    def _nvmlInit(self):
        self.initialised += 1

    def _nvmlShutdown(self):
        self.initialised = 0
        self.registered.clear()

    def _nvmlSystemGetDriverVersion(self):
        return self.told["nvmlSystemGetDriverVersion"]

    def _nvmlDeviceGetCount(self):
        return len(self.uuids)

    def _nvmlDeviceGetHandleByIndex(self, index):
        uuid = Device(self.uuids[index])
        if ("*", uuid) in self.faults:
            raise self.faults["*", uuid]
        return uuid

    def _nvmlDeviceGetUUID(self, handle):
        return str(handle)

    def _nvmlDeviceGetName(self, handle):
        return self.told["nvmlDeviceGetName"]

    def _nvmlDeviceGetMemoryInfo(self, handle, version=None):
        told = dict(self.told["memory_v2" if version else "nvmlDeviceGetMemoryInfo"])
        return SimpleNamespace(**told | self.memory.get(handle, {}))

    def _nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(**self.told["nvmlDeviceGetUtilizationRates"])

    def _nvmlDeviceGetTemperature(self, handle, sensor):
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return self.told["nvmlDeviceGetTemperature"]

    def _nvmlDeviceGetPowerUsage(self, handle):
        return self.told["nvmlDeviceGetPowerUsage"]

    def _nvmlDeviceGetEnforcedPowerLimit(self, handle):
        return self.told["nvmlDeviceGetEnforcedPowerLimit"]

    def _nvmlDeviceGetClockInfo(self, handle, clock):
        kind = {pynvml.NVML_CLOCK_SM: "sm", pynvml.NVML_CLOCK_MEM: "mem"}[clock]
        usual = self.told[f"clock {kind}"]
        return self.sm_clock.get(handle, usual) if kind == "sm" else usual

    def _nvmlDeviceGetMaxClockInfo(self, handle, clock):
        return self.told["max clock sm"]

    def _nvmlDeviceGetCurrentClocksEventReasons(self, handle):
        return self.throttle.get(handle, self.told["nvmlDeviceGetCurrentClocksEventReasons"])

    def _nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return self.throttle.get(handle, self.told["nvmlDeviceGetCurrentClocksThrottleReasons"])

    def _nvmlDeviceGetTotalEccErrors(self, handle, kind, counter):
        assert counter == pynvml.NVML_VOLATILE_ECC
        if kind == pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED:
            return self.uncorrected.get(handle, 0)
        return self.told["ecc type 0 counter 0"]

    def _nvmlDeviceGetRemappedRows(self, handle):
        return tuple(self.told["nvmlDeviceGetRemappedRows"])

    def _nvmlDeviceGetFieldValues(self, handle, fields):
        assert fields == [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION]
        return [SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=self.recovery.get(handle, 0)))]

    def _nvmlDeviceGetMigMode(self, handle):
        return [1, 1] if handle in self.mig else [0, 0]

    def _nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return 7

    def _nvmlDeviceGetMigDeviceHandleByIndex(self, handle, place):
        if place >= len(self.mig[handle]):
            raise error(pynvml.NVML_ERROR_NOT_FOUND)
        return Device(self.mig[handle][place])

    def _nvmlDeviceGetComputeRunningProcesses(self, handle):
        found = self.processes.get(handle, [])
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in found]

    def _nvmlDeviceGetComputeRunningProcesses_v2(self, handle):
        return self._nvmlDeviceGetComputeRunningProcesses(handle)

    def _nvmlEventSetCreate(self):
        return object()

    def _nvmlDeviceRegisterEvents(self, handle, types, events):
        assert types == pynvml.nvmlEventTypeXidCriticalError
        self.registered.append(str(handle))

    def _nvmlEventSetWait_v2(self, events, timeout_ms):
        assert timeout_ms == 0
        while self.xids:
            uuid, xid = self.xids.pop(0)
            if uuid in self.registered:
                return Event(device=Device(uuid), eventData=xid)
        raise error(pynvml.NVML_ERROR_TIMEOUT)


CALLS = sorted(name.removeprefix("_") for name in FakeNvml.__dict__ if name.startswith("_nvml"))
OF_A_GPU = [
    name
    for name in CALLS
    if name.startswith("nvmlDevice")
    and name
    not in {
        "nvmlDeviceGetCount",
        "nvmlDeviceGetHandleByIndex",
        "nvmlDeviceGetUUID",
        "nvmlDeviceGetMigDeviceHandleByIndex",
        "nvmlDeviceGetMaxMigDeviceCount",
    }
]
