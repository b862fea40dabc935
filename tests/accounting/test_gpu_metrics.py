"""Series of GPUs: whose they are, and none for what is not known."""

import re

from balancer.accounting import gpu_metrics
from balancer.core.fleet.gpu import Fault, GpuReading, GpuSample, GpuState, OwnGpu
from tests.accounting.test_metrics import value
from tests.core.states import replicas


def page(samples, states=(), now=10.0):
    readings = {"": GpuReading("", now, tuple(samples))}
    text, content_type = gpu_metrics.page(readings, now, "")
    assert content_type.startswith("text/plain")
    assert {
        family.sample_name.removesuffix("_total") for family, _ in gpu_metrics.families(readings, states, now)
    } == set(re.findall(r"^# TYPE (\w+?)(?:_total)? ", text.decode(), re.MULTILINE))
    return text


def series(text):
    return {line.split("{")[0] for line in text.decode().splitlines() if not line.startswith("#")}


def test_what_is_not_known_has_no_series():
    text = page([GpuSample("GPU-0", 8.0)])
    assert series(text) == {"balancer_gpu_info", "balancer_gpu_sample_age_seconds", "balancer_gpu_lost"}
    assert value(text, "balancer_gpu_sample_age_seconds", replica="", gpu="GPU-0") == 2.0


def test_no_gpus_have_no_series():
    assert series(page([])) == set()


def test_a_gpu_that_two_replicas_share_is_each_ones():
    first, second = replicas(2)
    sample = GpuSample("GPU-0", 8.0, temperature_c=50, faults=(Fault(None, 2, 1.0), Fault(13, 3, 1.0)))
    first.gpu = GpuState(gpus=(OwnGpu(sample, 7),))
    second.gpu = GpuState(gpus=(OwnGpu(sample, None),))
    found = {
        family.name: samples
        for family, samples in gpu_metrics.families(
            {"": GpuReading("", 9.0, (sample,))}, [first, second], 9.0
        )
    }
    assert found["balancer_gpu_temperature_celsius"] == [(("r0", "GPU-0"), 50), (("r1", "GPU-0"), 50)]
    assert found["balancer_gpu_process_memory_bytes"] == [(("r0", "GPU-0"), 7)]
    assert found["balancer_gpu_xid_errors"] == [(("r0", "GPU-0", "13"), 3), (("r1", "GPU-0", "13"), 3)]
    assert len(found["balancer_replica_gpu_condition"]) == 8
