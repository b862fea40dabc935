"""Whatever any call of NVML does, the other values are read, and nothing but `UnreadableError` comes out."""

import dataclasses
import logging

import pytest
from pynvml import NVMLLibraryMismatchError

from balancer.core.fleet.gpu import Fault, GpuSample, ProcessUse, Throttle
from balancer.observers.gpu.nvml import UnreadableError, load
from balancer.observers.gpu.reader import NvmlReader
from tests.fakes.nvml import (
    CALLS,
    ERRORS,
    LOST,
    MISMATCH,
    NO_LIBRARY,
    NOT_LOADED,
    OF_A_GPU,
    RESET_REQUIRED,
    UNINITIALIZED,
    FakeNvml,
    error,
)

# what of a sample is gone without which call; calls that are missing take nothing along
FIELDS = {
    "nvmlDeviceGetName": {"name"},
    "nvmlDeviceGetMemoryInfo": {
        "memory_total_bytes",
        "memory_used_bytes",
        "memory_free_bytes",
        "memory_reserved_bytes",
    },
    "nvmlDeviceGetUtilizationRates": {"utilization"},
    "nvmlDeviceGetTemperature": {"temperature_c"},
    "nvmlDeviceGetPowerUsage": {"power_w"},
    "nvmlDeviceGetEnforcedPowerLimit": {"power_limit_w"},
    "nvmlDeviceGetClockInfo": {"sm_clock_hz", "memory_clock_hz"},
    "nvmlDeviceGetMaxClockInfo": {"sm_clock_max_hz"},
    "nvmlDeviceGetTotalEccErrors": {"ecc_corrected", "ecc_uncorrected"},
    "nvmlDeviceGetRemappedRows": {"remap_pending", "remap_failed"},
    "nvmlDeviceGetFieldValues": {"recovery"},
}
BROKEN = {what: error(code) for what, code in ERRORS.items()} | {
    "mismatch": NVMLLibraryMismatchError("old library"),
    "no function": AttributeError("no such function"),
    "no text": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    "none": None,
    "garbage": object(),
}
GARBLED = {  # an answer was given, so no older call is tried
    "nvmlDeviceGetCurrentClocksEventReasons": {"throttled"},
    "nvmlDeviceGetComputeRunningProcesses": {"processes"},
}
UNASKED = {  # of a whole GPU whose newer calls work
    "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetComputeRunningProcesses_v2",
    "nvmlDeviceGetMaxMigDeviceCount",
    "nvmlDeviceGetMigDeviceHandleByIndex",
    "nvmlShutdown",
}


def reader(nvml, tmp_path):
    return NvmlReader(lambda: nvml, proc=tmp_path)


def of(sample, **more):
    return dataclasses.replace(sample, taken_at=0.0, **more)


def test_what_an_h200_told(tmp_path):
    (sample,) = reader(FakeNvml(), tmp_path).read()
    assert of(sample) == GpuSample(
        uuid="GPU-0",
        taken_at=0.0,
        index=0,
        name="NVIDIA H200",
        memory_total_bytes=150754820096,
        memory_used_bytes=1731002368,
        memory_free_bytes=148378877952,
        memory_reserved_bytes=644939776,
        utilization=1.0,
        temperature_c=57,
        power_w=pytest.approx(691.912),
        power_limit_w=700,
        sm_clock_hz=1410e6,
        sm_clock_max_hz=1980e6,
        memory_clock_hz=3201e6,
        throttled=frozenset({Throttle.SW_POWER_CAP}),
        ecc_corrected=0,
        ecc_uncorrected=0,
        remap_pending=False,
        remap_failed=False,
        recovery="none",
        processes=(),
    )


def test_every_call_is_made(tmp_path):
    """Else a fault on it would prove nothing."""
    nvml = FakeNvml()
    reader(nvml, tmp_path).read()
    assert set(nvml.calls) == set(CALLS) - UNASKED


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("call", CALLS)
def test_each_value_is_tried_on_its_own(call, what, tmp_path):
    whole = of(reader(FakeNvml(), tmp_path).read()[0])
    nvml = FakeNvml()
    nvml.faults[call] = BROKEN[what]
    silent = {("nvmlDeviceGetCount", "none"), ("nvmlDeviceGetHandleByIndex", "none")}
    if call in {"nvmlInit", "nvmlDeviceGetCount"} and (call, what) not in silent:
        with pytest.raises(UnreadableError):
            reader(nvml, tmp_path).read()
        return
    samples = reader(nvml, tmp_path).read()
    if call in {"nvmlDeviceGetCount", "nvmlDeviceGetUUID", "nvmlDeviceGetHandleByIndex"}:
        named = {sample.uuid for sample in samples}  # the fake takes any handle for an UUID
        assert named == set() or what in {"none", "garbage"}
        return
    missing = FIELDS.get(call, set()) | (GARBLED.get(call, set()) if what == "garbage" else set())
    assert of(samples[0]) == dataclasses.replace(whole, **dict.fromkeys(missing))


@pytest.mark.parametrize("call", OF_A_GPU)
@pytest.mark.parametrize("code", [LOST, RESET_REQUIRED], ids=["lost", "reset required"])
def test_a_gpu_that_is_lost_says_so_and_the_others_go_on(call, code, tmp_path):
    nvml = FakeNvml(2)
    watched = reader(nvml, tmp_path)
    before = watched.read()
    if call in UNASKED:
        nvml.faults[call.removesuffix("_v2").replace("Throttle", "Event")] = error(
            ERRORS["function not found"]
        )
    if call in {"nvmlDeviceRegisterEvents", "nvmlDeviceGetMaxClockInfo", "nvmlDeviceGetName"}:  # asked once
        watched = reader(nvml, tmp_path)

    def broken(handle, *more):
        if handle == "GPU-1":
            raise error(code)
        return getattr(FakeNvml, f"_{call}")(nvml, handle, *more)

    nvml.faults[call] = broken
    sound, lost = watched.read()
    assert (sound.uuid, sound.lost, sound.memory_total_bytes) == (
        "GPU-0",
        False,
        before[0].memory_total_bytes,
    )
    assert (lost.uuid, lost.lost, lost.memory_total_bytes) == ("GPU-1", True, None)


def test_a_gpu_that_fell_off_the_bus_is_lost_until_it_is_back(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    nvml = FakeNvml(2)
    watched = reader(nvml, tmp_path)
    watched.read()
    nvml.lose("GPU-0")
    for _ in range(3):
        assert {sample.uuid: sample.lost for sample in watched.read()} == {"GPU-0": True, "GPU-1": False}
    nvml.find("GPU-0")
    assert [sample.lost for sample in watched.read()] == [False, False]
    told = [record.message for record in caplog.records]
    assert told == ["GPU 0 (NVIDIA H200) is lost: it does not answer", "GPU 0 (NVIDIA H200) is back"]
    nvml.xids.append(("GPU-0", 79))  # its events were asked for again
    assert watched.read()[0].faults


def test_a_gpu_that_is_not_counted_any_more_is_lost(tmp_path):
    nvml = FakeNvml(2)
    watched = reader(nvml, tmp_path)
    watched.read()
    nvml.uuids = ["GPU-1"]
    assert [(s.uuid, s.index, s.lost) for s in watched.read()] == [("GPU-1", 0, False), ("GPU-0", 0, True)]


def test_a_gpu_whose_identity_cannot_be_told_now_is_not_lost(tmp_path):
    nvml = FakeNvml(2)
    watched = reader(nvml, tmp_path)
    watched.read()
    nvml.faults["nvmlDeviceGetUUID"] = error(ERRORS["unknown"])
    assert watched.read() == ()
    nvml.faults.clear()
    assert [sample.lost for sample in watched.read()] == [False, False]


@pytest.mark.parametrize(
    "code", [UNINITIALIZED, NOT_LOADED, MISMATCH], ids=["uninitialised", "not loaded", "replaced"]
)
@pytest.mark.parametrize(
    "call",
    ["nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetTemperature", "nvmlDeviceGetMigMode"],
)
def test_after_the_driver_restarted_it_is_initialised_anew(call, code, tmp_path):
    nvml = FakeNvml()
    watched = reader(nvml, tmp_path)
    watched.read()
    nvml.faults[call] = error(code)
    with pytest.raises(UnreadableError):
        watched.read()
    assert nvml.initialised == 0
    nvml.faults.clear()
    assert watched.read()[0].temperature_c == 57
    assert nvml.registered == ["GPU-0"]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (NO_LIBRARY, "Library Not Found"),
        (NOT_LOADED, "Driver Not Loaded"),
        (MISMATCH, "which must be restarted"),
    ],
)
def test_without_a_driver_it_says_why_and_tries_again(code, says, tmp_path):
    nvml = FakeNvml()
    watched = reader(nvml, tmp_path)
    nvml.faults["nvmlInit"] = error(code)
    for _ in range(2):
        with pytest.raises(UnreadableError, match=says):
            watched.read()
    nvml.faults.clear()
    assert len(watched.read()) == 1


def test_without_the_binding():
    def absent():
        raise UnreadableError("nvidia-ml-py cannot be imported")

    with pytest.raises(UnreadableError, match="nvidia-ml-py"):
        NvmlReader(absent).read()


def test_the_binding_has_every_call_that_is_made():
    binding = load()
    assert [call for call in CALLS if not hasattr(binding, call)] == []


def test_why_is_logged_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    nvml = FakeNvml()
    nvml.faults["nvmlDeviceGetTemperature"] = error(ERRORS["not supported"])
    watched = reader(nvml, tmp_path)
    for _ in range(5):
        watched.read()
    told = [record.message for record in caplog.records]
    assert told == ["GPU 0 (NVIDIA H200): temperature cannot be read: Not Supported"]


def test_an_old_library_is_asked_by_the_older_names(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    nvml = FakeNvml()
    nvml.processes["GPU-0"] = [(473, 10)]
    for call in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetComputeRunningProcesses"):
        nvml.faults[call] = error(ERRORS["function not found"])
    (sample,) = reader(nvml, tmp_path).read()
    assert sample.throttled == {Throttle.SW_POWER_CAP}
    assert [process.pid for process in sample.processes] == [473]
    assert caplog.records == []


def test_memory_without_what_the_driver_reserves(tmp_path):
    nvml = FakeNvml()
    memory = FakeNvml._nvmlDeviceGetMemoryInfo

    def old(handle, version=None):
        if version:
            raise error(ERRORS["function not found"])
        return memory(nvml, handle)

    nvml.faults["nvmlDeviceGetMemoryInfo"] = old
    (sample,) = reader(nvml, tmp_path).read()
    assert (sample.memory_used_bytes, sample.memory_reserved_bytes) == (2375942144, None)


@pytest.mark.parametrize(
    "fault", [error(ERRORS["not supported"]), None], ids=["not supported", "a total of 0"]
)
@pytest.mark.parametrize("name", ["NVIDIA GB10", "Orin (nvgpu)", "NVIDIA H200"])
def test_unified_memory_is_the_systems(fault, name, tmp_path):
    (tmp_path / "meminfo").write_text(
        "MemTotal:  128 kB\nMemFree: 1 kB\nMemAvailable:   28 kB\nHugePages: 0\n"
    )
    nvml = FakeNvml()
    nvml.told["nvmlDeviceGetName"] = name
    if fault is None:
        nvml.memory["GPU-0"] = {"total": 0, "used": 0, "free": 0}
    else:
        nvml.faults["nvmlDeviceGetMemoryInfo"] = fault
    (sample,) = reader(nvml, tmp_path).read()
    told = (sample.unified, sample.memory_total_bytes, sample.memory_free_bytes, sample.memory_used_bytes)
    unified = (True, 128 * 1024, 28 * 1024, 100 * 1024)
    assert told == ((False, None, None, None) if name == "NVIDIA H200" else unified)


def test_unified_memory_without_meminfo(tmp_path):
    nvml = FakeNvml()
    nvml.told["nvmlDeviceGetName"] = "NVIDIA GB10"
    nvml.faults["nvmlDeviceGetMemoryInfo"] = error(ERRORS["not supported"])
    (sample,) = reader(nvml, tmp_path).read()
    assert (sample.unified, sample.memory_total_bytes, sample.temperature_c) == (True, None, 57)


def test_mig_instances_have_memory_and_processes_of_their_own(tmp_path):
    nvml = FakeNvml()
    nvml.mig["GPU-0"] = ["MIG-a", "MIG-b"]
    nvml.memory["MIG-a"] = {"total": 10, "used": 4, "free": 6}
    nvml.processes["GPU-0"] = nvml.processes["MIG-a"] = [(473, 4)]
    nvml.faults["nvmlDeviceGetUtilizationRates"] = error(ERRORS["not supported"])
    whole, a, b = reader(nvml, tmp_path).read()
    assert (whole.uuid, whole.mig, whole.utilization, whole.processes) == ("GPU-0", False, None, None)
    assert (a.uuid, a.mig, a.memory_total_bytes, a.temperature_c, a.power_w) == ("MIG-a", True, 10, 57, None)
    assert a.processes == (ProcessUse(473, 4),)
    assert (b.uuid, b.processes) == ("MIG-b", ())
    nvml.xids.append(("GPU-0", 48))
    watched = reader(nvml, tmp_path)
    watched.read()
    nvml.xids.append(("GPU-0", 48))
    assert [[fault.xid for fault in sample.faults] for sample in watched.read()] == [[48]] * 3


def test_mig_instances_that_go_are_not_lost(tmp_path):
    nvml = FakeNvml()
    nvml.mig["GPU-0"] = ["MIG-a"]
    watched = reader(nvml, tmp_path)
    assert len(watched.read()) == 2
    nvml.mig["GPU-0"] = []
    assert [sample.lost for sample in watched.read()] == [False]


def test_wsl_tells_no_memory_of_processes(tmp_path):
    nvml = FakeNvml()
    nvml.processes["GPU-0"] = [(473, None), (474, 2**64 - 1)]
    (sample,) = reader(nvml, tmp_path).read()
    assert sample.processes == (ProcessUse(473), ProcessUse(474))


def test_xids_and_ecc_errors_are_faults(tmp_path):
    nvml = FakeNvml(2)
    nvml.uncorrected["GPU-0"] = 3  # from before: shown, no fault
    watched = reader(nvml, tmp_path)
    assert [sample.faults for sample in watched.read()] == [(), ()]
    nvml.xids += [("GPU-1", 13), ("GPU-1", 48), ("GPU-1", 13), ("unheard of", 79)]
    nvml.uncorrected["GPU-0"] = 4
    first, second = watched.read()
    assert [(fault.xid, fault.times) for fault in first.faults] == [(None, 1)]
    assert [(fault.xid, fault.times) for fault in second.faults] == [(48, 1), (13, 2)]
    nvml.uncorrected["GPU-0"] = 0  # the driver was loaded anew
    first, second = watched.read()
    assert [fault.times for fault in first.faults] == [1]
    assert all(isinstance(fault, Fault) for fault in second.faults)


def test_an_endless_flow_of_events_ends(tmp_path):
    nvml = FakeNvml()
    watched = reader(nvml, tmp_path)
    watched.read()
    nvml.xids += [("GPU-0", 13)] * 10_000
    (sample,) = watched.read()
    assert sample.faults[0].times == 64


@pytest.mark.parametrize(
    ("action", "told"), [(0, "none"), (1, "gpu_reset"), (2, "node_reboot"), (99, "action_99")]
)
def test_what_the_driver_asks_for(action, told, tmp_path):
    nvml = FakeNvml()
    nvml.recovery["GPU-0"] = action
    assert reader(nvml, tmp_path).read()[0].recovery == told
