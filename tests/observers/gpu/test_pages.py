"""Pages of others: dcgm-exporter's, and an agent's."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.fleet.gpu import MAX_FAULTS, Fault, GpuSample, ProcessUse, Throttle
from balancer.observers.gpu import wire
from balancer.observers.gpu.dcgm import MAX_GPUS, DcgmPage

LABELS = 'gpu="0",UUID="GPU-a",device="nvidia0",modelName="NVIDIA H100 80GB HBM3",Hostname="gpu-c"'
PAGE = f"""\
# HELP DCGM_FI_DEV_SM_CLOCK SM clock frequency (in MHz).
# TYPE DCGM_FI_DEV_SM_CLOCK gauge
DCGM_FI_DEV_SM_CLOCK{{{LABELS}}} 1410
DCGM_FI_DEV_MEM_CLOCK{{{LABELS}}} 2619
DCGM_FI_DEV_GPU_TEMP{{{LABELS}}} 57
DCGM_FI_DEV_POWER_USAGE{{{LABELS}}} 691.912000
DCGM_FI_DEV_POWER_MGMT_LIMIT{{{LABELS}}} 700
DCGM_FI_DEV_GPU_UTIL{{{LABELS}}} 100
DCGM_FI_DEV_FB_FREE{{{LABELS}}} 1000
DCGM_FI_DEV_FB_USED{{{LABELS}}} 80000
DCGM_FI_DEV_FB_RESERVED{{{LABELS}}} 559
DCGM_FI_DEV_CLOCK_THROTTLE_REASONS{{{LABELS}}} 68
DCGM_FI_DEV_ECC_SBE_VOL_TOTAL{{{LABELS}}} 2
DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{{{LABELS}}} 0
DCGM_FI_DEV_ROW_REMAP_FAILURE{{{LABELS}}} 0
DCGM_FI_DEV_MEMORY_TEMP{{{LABELS}}} 9223372036854775794
DCGM_FI_DEV_XID_ERRORS{{{LABELS}}} LAST
"""
MIB = 2**20


def dcgm(page, text, now=1.0):
    return page.read(text.encode(), now)


def test_what_dcgm_exporter_tells():
    (sample,) = dcgm(DcgmPage(), PAGE.replace("LAST", "0"))
    assert sample == GpuSample(
        uuid="GPU-a",
        taken_at=1.0,
        index=0,
        name="NVIDIA H100 80GB HBM3",
        memory_total_bytes=81559 * MIB,
        memory_used_bytes=80000 * MIB,
        memory_free_bytes=1000 * MIB,
        memory_reserved_bytes=559 * MIB,
        utilization=1.0,
        temperature_c=57,
        power_w=691.912,
        power_limit_w=700,
        sm_clock_hz=1410e6,
        memory_clock_hz=2619e6,
        throttled=frozenset({Throttle.SW_POWER_CAP, Throttle.HW_THERMAL}),
        ecc_corrected=2,
        ecc_uncorrected=0,
        remap_failed=False,
    )


def test_only_another_xid_is_news():
    page = DcgmPage()
    told = [
        dcgm(page, PAGE.replace("LAST", xid), now)[0].faults
        for now, xid in enumerate(("31", "31", "79", "79", "0", "48"))
    ]
    assert told == [
        (),
        (),
        (Fault(79, 1, 2),),
        (Fault(79, 1, 2),),
        (Fault(79, 1, 2),),
        (Fault(79, 1, 2), Fault(48, 1, 5)),
    ]


@pytest.mark.parametrize(
    "blank", ["9223372036854775794", "2147483632", "140737488355328", "nan", "-1", "x", "+Inf"]
)
def test_what_dcgm_does_not_know_is_absent(blank):
    (sample,) = dcgm(DcgmPage(), PAGE.replace("57", blank).replace("LAST", blank))
    assert (sample.temperature_c, sample.faults, sample.power_w) == (None, (), 691.912)


def test_mig_instances_are_told_apart():
    rows = "".join(
        f'DCGM_FI_DEV_FB_USED{{gpu="0",UUID="GPU-a",GPU_I_PROFILE="1g",GPU_I_ID="{each}"}} {each}\n'
        for each in (3, 5)
    )
    assert [(s.uuid, s.mig, s.index, s.memory_used_bytes) for s in dcgm(DcgmPage(), rows)] == [
        ("GPU-a/3", True, None, 3 * MIB),
        ("GPU-a/5", True, None, 5 * MIB),
    ]


def test_a_page_of_any_size_makes_so_many_gpus():
    page = DcgmPage()
    rows = "".join(f'DCGM_FI_DEV_GPU_TEMP{{UUID="{"x" * 500}{each}"}} 1\n' for each in range(2000))
    assert len(dcgm(page, rows)) <= MAX_GPUS
    rows = "".join(f'DCGM_FI_DEV_GPU_TEMP{{UUID="{each}"}} 1\n' for each in range(2000))
    assert len(dcgm(page, rows)) == MAX_GPUS


@given(
    st.binary(max_size=300)
    | st.text(alphabet='DCGM_FI_DEV_GPU_TEMP{}"=\\,\n 1e9', max_size=200).map(str.encode)
)
def test_any_bytes_will_do_for_dcgm(junk):
    page = DcgmPage()
    assert isinstance(page.read(junk, 0.0), tuple)
    assert dcgm(page, PAGE.replace("LAST", "0") + "\n")[0].temperature_c == 57


numbers = st.none() | st.integers(0, 2**50)
samples = st.builds(
    GpuSample,
    uuid=st.text("abc-", min_size=1, max_size=20),
    taken_at=st.just(90.0),
    index=st.none() | st.integers(0, 63),
    name=st.none() | st.text(max_size=20),
    mig=st.booleans(),
    lost=st.booleans(),
    memory_total_bytes=numbers,
    utilization=st.none() | st.floats(0, 1),
    throttled=st.none() | st.frozensets(st.sampled_from(Throttle)),
    ecc_uncorrected=numbers,
    remap_failed=st.none() | st.booleans(),
    recovery=st.none() | st.just("none"),
    faults=st.lists(st.builds(Fault, st.none() | st.integers(0, 200), st.integers(1, 9), st.just(50.0))).map(
        tuple
    ),
    processes=st.none()
    | st.lists(st.builds(ProcessUse, st.integers(2, 9), numbers, st.just((8000,)))).map(tuple),
)


@given(st.lists(samples, max_size=3).map(tuple))
def test_what_an_agent_writes_a_balancer_reads(told):
    page = wire.written(told, 100.0, host="gpu-a", driver="580", problem=None)
    assert wire.read(page, 100.0) == ("gpu-a", told)
    later = wire.read(page, 1000.0)[1]  # another clock: ages hold
    assert [sample.taken_at for sample in later] == [990.0] * len(told)
    assert all(fault.at_s == 950.0 for sample in later for fault in sample.faults)


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (b"", "no page of an agent"),
        (b"[]", "no page of an agent"),
        (b'{"version": 1}', "no page of an agent"),
        (b'{"version": 1, "now": 1, "gpus": [{"uuid": 7, "taken_at": 1}]}', "no page of an agent"),
        (b"[" * 100_000, "no page of an agent"),
        (b'\xff{"version": 1}', "no page of an agent"),
        (b'{"version": 2, "now": 1, "gpus": []}', "version 2"),
        (b'{"version": 1, "now": 1, "gpus": [], "problem": "Driver Not Loaded"}', "Driver Not Loaded"),
    ],
)
def test_what_is_no_page_of_an_agent(page, says):
    with pytest.raises(ValueError, match=says):
        wire.read(page, 0.0)


def test_what_an_agent_tells_is_bounded():
    gpu = {"uuid": "u" * 1000, "taken_at": 9, "name": "n" * 1000, "throttled": ["idle"], "more": 1}
    gpu["faults"] = [{"xid": xid, "times": 1, "at_s": 1} for xid in range(1000)]
    page = json.dumps({"version": 1, "now": 4, "host": "h" * 1000, "gpus": [gpu] * 1000}).encode()
    host, found = wire.read(page, 10.0)
    assert (len(host), len(found), len(found[0].uuid), len(found[0].name)) == (96, wire.MAX_GPUS, 96, 96)
    assert (found[0].taken_at, found[0].throttled) == (10.0, {Throttle.IDLE})
    assert len(found[0].faults) == MAX_FAULTS


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_page_or_a_value_error(junk):
    with pytest.raises(ValueError, match="no page of an agent"):
        wire.read(junk, 0.0)


def test_for_people():
    sample = GpuSample("GPU-a", 8.0, throttled=frozenset({Throttle.IDLE}), faults=(Fault(13, 2, 5.0),))
    plain = json.loads(json.dumps(wire.as_json(sample, 10.0)))
    assert (plain["uuid"], plain["age_s"], plain["throttled"]) == ("GPU-a", 2.0, ["idle"])
    assert plain["faults"] == [{"xid": 13, "times": 2, "age_s": 5.0}]
