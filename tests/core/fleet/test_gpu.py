"""What GPUs say of a replica, and who goes before whom for it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.decider import Decider
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.gpu import (
    FATAL_XIDS,
    MAX_FAULTS,
    UNKNOWN,
    Condition,
    Fault,
    Faults,
    GpuSample,
    GpuState,
    ProcessUse,
    ReplicaGpus,
    Throttle,
    throttles,
)
from balancer.core.fleet.health import HealthPolicy
from balancer.core.fleet.meter import Passed
from balancer.core.fleet.speed import PRIOR, Siblings, Speed
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling.predicted_latency import PredictedLatency
from balancer.core.types import Health, ReplicaId
from tests.core.states import replica, replicas, request, sample

SICK = GpuState(Condition.SICK, "Xid 48")
LOST = GpuState(Condition.LOST, "gone")
GIB = 2**30


def gpu(**told):
    return GpuSample(**{"uuid": "GPU-0", "taken_at": 0.0, "index": 0, **told})


def judged(*samples, since_s=0.0):
    state = ReplicaGpus().judge(samples, 8000, since_s)
    return state.condition, state.why


@pytest.mark.parametrize(
    ("told", "condition", "why"),
    [
        ({}, Condition.SOUND, ""),
        (
            {"utilization": 1.0, "temperature_c": 95, "ecc_uncorrected": 7, "remap_failed": True},
            Condition.SOUND,
            "",
        ),
        ({"throttled": frozenset({Throttle.SW_POWER_CAP, Throttle.IDLE})}, Condition.SOUND, ""),
        ({"throttled": frozenset({Throttle.HW_THERMAL})}, Condition.THROTTLED, "GPU 0: hw_thermal"),
        (
            {"throttled": frozenset({Throttle.HW_POWER_BRAKE, Throttle.HW_SLOWDOWN})},
            Condition.THROTTLED,
            "GPU 0: hw_power_brake, hw_slowdown",
        ),
        ({"recovery": "none"}, Condition.SOUND, ""),
        ({"recovery": "gpu_reset"}, Condition.SICK, "GPU 0: the driver asks for gpu_reset"),
        ({"faults": (Fault(13, 9, 5.0), Fault(109, 1, 5.0))}, Condition.SOUND, ""),
        ({"faults": (Fault(48, 1, 5.0), Fault(13, 1, 6.0))}, Condition.SICK, "GPU 0: Xid 48"),
        ({"faults": (Fault(None, 1, 5.0),)}, Condition.SICK, "GPU 0: an uncorrectable ECC error"),
        ({"faults": (Fault(79, 1, 5.0),)}, Condition.LOST, "GPU 0: Xid 79"),
        ({"lost": True}, Condition.LOST, "GPU 0 is lost"),
        ({"lost": True, "index": None}, Condition.LOST, "GPU-0 is lost"),
    ],
)
def test_conditions(told, condition, why):
    assert judged(gpu(**told)) == (condition, why)


@pytest.mark.parametrize("xid", sorted(FATAL_XIDS))
def test_a_fault_counts_until_the_engine_began_anew(xid):
    told = gpu(faults=(Fault(xid, 1, 10.0),))
    assert judged(told, since_s=9.0)[0] >= Condition.SICK
    assert judged(told, since_s=11.0)[0] is Condition.SOUND


def test_the_worst_gpu_counts():
    assert judged(gpu(), gpu(uuid="GPU-1", index=1, faults=(Fault(95, 1, 1.0),)), gpu()) == (
        Condition.SICK,
        "GPU 1: Xid 95",
    )
    assert judged() == (Condition.SOUND, "")


def test_masks_are_numbered_as_nvmls():
    assert throttles(0) == frozenset()
    assert throttles(0x1 | 0x40 | 0x80 | 1 << 40) == {
        Throttle.IDLE,
        Throttle.HW_THERMAL,
        Throttle.HW_POWER_BRAKE,
    }
    assert throttles(0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x100) == set(Throttle) - throttles(0xC1)


@given(st.lists(st.integers(0, 300), max_size=400))
def test_faults_are_bounded_and_the_latest_stay(xids):
    faults = Faults()
    for now, xid in enumerate(xids):
        faults.add(xid, now)
    kept = [fault.xid for fault in faults.all()]
    assert len(kept) == min(len(set(xids)), MAX_FAULTS)
    assert kept == sorted(kept, key=lambda xid: len(xids) - xids[::-1].index(xid))


# -- memory and clocks over time


def held(own, free):
    processes = (ProcessUse(7, own, (8000,)), ProcessUse(8, 99 * GIB, (9000,)))
    return gpu(memory_free_bytes=free, processes=processes)


def test_what_others_take_shrinks_what_an_elastic_engine_can_hold():
    gpus = ReplicaGpus()
    shares = [
        gpus.judge([held(own * GIB, free * GIB)], 8000, 0.0).share
        for own, free in ((60, 10), (40, 30), (40, 10), (30, 0), (60, 1))
    ]
    assert shares == [1.0, 1.0, pytest.approx(50 / 60), pytest.approx(0.5), 1.0]


def test_an_engine_that_took_all_at_its_start_keeps_it():
    gpus = ReplicaGpus()
    assert [gpus.judge([held(60 * GIB, free)], 8000, 0.0).share for free in (GIB, 0)] == [1.0, 1.0]


def test_an_engine_that_began_anew_is_measured_anew():
    gpus = ReplicaGpus()
    gpus.judge([held(60 * GIB, 0)], 8000, 0.0)
    assert gpus.judge([held(30 * GIB, 0)], 8000, 0.5).share == 0.5  # the same start, told from another clock
    assert gpus.judge([held(30 * GIB, 0)], 8000, 100.0).share == 1.0


def test_the_tightest_gpu_binds():
    gpus = ReplicaGpus()
    gpus.judge([held(60 * GIB, 0), replace(held(60 * GIB, 0), uuid="GPU-1")], 8000, 0.0)
    state = gpus.judge([held(60 * GIB, 0), replace(held(15 * GIB, 0), uuid="GPU-1")], 8000, 0.0)
    assert state.share == 0.25
    assert [own.own_bytes for own in state.gpus] == [60 * GIB, 15 * GIB]


@pytest.mark.parametrize(
    "told",
    [
        {"processes": None},
        {"processes": ()},
        {"processes": (ProcessUse(7, None, (8000,)),)},
        {"processes": (ProcessUse(7, 5, (8000,)), ProcessUse(8, None, (8000,)))},
        {"memory_free_bytes": None},
    ],
)
def test_without_figures_nothing_shrinks(told):
    gpus = ReplicaGpus()
    gpus.judge([held(60 * GIB, 0)], 8000, 0.0)
    assert gpus.judge([replace(held(1, 0), **told)], 8000, 0.0).share == 1.0


def clocked(mhz, *reasons):
    return gpu(sm_clock_hz=mhz * 1e6, throttled=frozenset(reasons))


def test_a_brake_is_measured_by_the_clock_without_it():
    gpus = ReplicaGpus()
    readings = [
        clocked(300, Throttle.IDLE),
        clocked(1400, Throttle.SW_POWER_CAP),
        clocked(700, Throttle.HW_THERMAL),
        clocked(690, Throttle.HW_THERMAL),
        clocked(100, Throttle.HW_POWER_BRAKE),
        clocked(1400),
    ]
    slow = [gpus.judge([reading], 8000, 0.0).slow for reading in readings]
    assert slow == [1.0, 1.0, pytest.approx(2.0), pytest.approx(2.0), 8.0, 1.0]


@pytest.mark.parametrize(
    "told", [clocked(700, Throttle.HW_THERMAL), gpu(), gpu(throttled=frozenset({Throttle.HW_THERMAL}))]
)
def test_without_a_clock_to_compare_nothing_is_slower(told):
    assert ReplicaGpus().judge([told], 8000, 0.0).slow == 1.0


# -- who goes before whom


def names(fleet, now=0.0, tried=()):
    return [r.id for r in fleet.eligible("m", now, frozenset(map(ReplicaId, tried)))]


@pytest.fixture
def fleet():
    fleet = Fleet(replicas(3))
    assert names(fleet) == ["r0", "r1", "r2"]
    return fleet


def test_sick_goes_after_all_others_and_lost_after_that(fleet):
    first, second, third = fleet
    fleet.saw_gpus(first, SICK, 0.0)
    assert names(fleet) == ["r1", "r2"]
    fleet.saw_gpus(second, LOST, 0.0)
    assert names(fleet) == ["r2"]
    assert names(fleet, tried=["r2"]) == ["r0"]
    assert names(fleet, tried=["r0", "r2"]) == ["r1"]
    third.health = Health.UNHEALTHY
    assert names(fleet) == ["r0"]


def test_lost_goes_after_those_that_are_doubtful(fleet):
    for each in fleet:
        fleet.saw_gpus(each, LOST, 0.0)
    assert names(fleet) == ["r0", "r1", "r2"]  # nobody is left, and it may be the reading that is wrong
    fleet.panic_threshold = 0.0
    next(iter(fleet)).health = Health.EJECTED
    assert names(fleet) == ["r0"]


def test_sick_goes_after_one_that_is_busy(fleet):
    first, second, third = fleet
    fleet.saw_gpus(first, SICK, 0.0)
    fleet.declined(second, 0.0, 5.0)
    fleet.declined(third, 0.0, 5.0)
    assert names(fleet, 1.0) == ["r1", "r2"]


def test_after_recovery_all_are_alike_again(fleet):
    first, *_ = fleet
    fleet.saw_gpus(first, SICK, 0.0)
    fleet.saw_gpus(first, GpuState(Condition.THROTTLED), 100.0)
    assert names(fleet, 100.0) == ["r0", "r1", "r2"]
    assert fleet._alike_at_s == 130.0  # the quick way is taken again


def test_one_that_recovers_leaves_others_sick(fleet):
    first, second, _ = fleet
    fleet.saw_gpus(first, SICK, 0.0)
    fleet.saw_gpus(second, SICK, 0.0)
    fleet.saw_gpus(first, UNKNOWN, 1.0)
    assert names(fleet, 1000.0) == ["r0", "r2"]


# -- what the policy makes of it


def decider(*states):
    return Decider(Fleet(states), PredictedLatency(PrefixIndex(1000)), HealthPolicy())


def lane(deciding, state):
    return deciding.policy._lanes[state.slot]


def test_a_shrunken_cache_is_full_sooner():
    state = replica()
    deciding = decider(state)
    deciding.sampled(state, sample(0.0, kv_capacity_tokens=10_000, kv_usage=0.6), 0)
    lane(deciding, state).refresh(0.0)
    assert (lane(deciding, state).capacity_tokens, lane(deciding, state)._full()) == (10_000, False)
    deciding.saw_gpus(state, GpuState(share=0.5), 1.0)
    assert lane(deciding, state).capacity_tokens == 5_000
    deciding.sampled(state, sample(2.0, kv_capacity_tokens=10_000, kv_usage=0.6), 0)
    lane(deciding, state).refresh(2.0)
    assert lane(deciding, state)._full()
    deciding.sampled(state, sample(3.0, kv_capacity_tokens=20_000, kv_usage=0.1), 0)
    assert lane(deciding, state).capacity_tokens == 10_000
    deciding.saw_gpus(state, UNKNOWN, 4.0)
    assert lane(deciding, state).capacity_tokens == 20_000


def test_a_share_before_any_capacity_is_known():
    state = replica()
    deciding = decider(state)
    deciding.saw_gpus(state, GpuState(share=0.5), 0.0)
    assert lane(deciding, state).capacity_tokens is None
    deciding.sampled(state, sample(1.0, kv_capacity_tokens=10_000), 0)
    assert lane(deciding, state).capacity_tokens == 5_000


def prefill_s(speed):
    return speed.now.prefill


def taught(prefill, answers=40):
    """Prompts of 2,000 tokens, one a second."""
    speed = Speed(Siblings(PRIOR))
    teach(speed, prefill, range(answers))
    return speed


def teach(speed, prefill, seconds):
    for now in seconds:
        took_s = 0.02 + 2000 * prefill
        speed.saw_answer(Passed(took_s, 2000, 0.0, 0.0, 0.0), 1, float(now))


def test_a_brake_is_known_at_once_and_unlearned_if_it_was_none():
    braked, late = taught(60e-6), taught(60e-6)
    braked.slowed(2.0)
    assert prefill_s(braked) == pytest.approx(120e-6, rel=0.15)
    teach(braked, 120e-6, range(40, 42))
    teach(late, 120e-6, range(40, 42))
    assert prefill_s(braked) == pytest.approx(120e-6, rel=0.15)
    assert prefill_s(late) < 100e-6
    braked.slowed(0.5)
    assert prefill_s(braked) == pytest.approx(60e-6, rel=0.15)
    braked.slowed(4.0)  # which is not so
    teach(braked, 60e-6, range(42, 140))
    assert prefill_s(braked) == pytest.approx(60e-6, rel=0.2)


def test_one_that_learned_nothing_has_nothing_to_unlearn():
    speed = Speed(Siblings(PRIOR))
    speed.slowed(2.0)
    assert speed.now == PRIOR


def test_a_brake_sends_requests_elsewhere():
    first, second = replicas(2)
    deciding = decider(first, second)
    for state in (first, second):
        speed = lane(deciding, state).speed
        teach(speed, 60e-6, range(40))
    deciding.saw_gpus(first, GpuState(Condition.THROTTLED, "brake", slow=4.0), 40.0)
    asked = [
        deciding.decide(request(*range(n, n + 60)), frozenset(), 40.0).replica for n in range(0, 600, 60)
    ]
    assert asked == ["r1"] * 10
    deciding.saw_gpus(first, UNKNOWN, 41.0)
    lanes = [lane(deciding, state).speed.now.prefill for state in (first, second)]
    assert lanes[0] == pytest.approx(lanes[1])
