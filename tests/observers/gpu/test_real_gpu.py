"""The GPUs of this machine, read by the real library: `pytest -m gpu` where there is one."""

import os
import time

import pytest

from balancer.observers.gpu.reader import NvmlReader

pytestmark = pytest.mark.gpu


def test_a_real_gpu_is_read():
    reader = NvmlReader()
    samples = reader.read()
    assert samples, "no GPU"
    for sample in samples:
        print(sample)
        assert sample.uuid.startswith(("GPU-", "MIG-"))
        assert sample.name
        assert not sample.lost
        assert sample.taken_at <= time.monotonic()
        if sample.memory_total_bytes is not None:
            assert 0 <= sample.memory_free_bytes <= sample.memory_total_bytes
        if sample.temperature_c is not None:
            assert 0 < sample.temperature_c < 120
        if sample.sm_clock_hz is not None and sample.sm_clock_max_hz is not None:
            assert 0 < sample.sm_clock_hz <= sample.sm_clock_max_hz * 1.1
    begun = time.perf_counter()
    again = reader.read()
    print(f"{(time.perf_counter() - begun) * 1e3:.1f} ms for {len(again)} GPUs")
    assert [sample.uuid for sample in again] == [sample.uuid for sample in samples]
    reader.close()
    assert len(reader.read()) == len(samples), "initialised anew"


def test_this_process_is_found_on_it_by_its_port():
    torch = pytest.importorskip("torch")
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        held = torch.zeros(256 * 2**20, dtype=torch.uint8, device="cuda")
        samples = NvmlReader().read()
        port = listening.getsockname()[1]
        own = [sample.own_bytes(port) for sample in samples if sample.processes is not None]
        print(own, [sample.processes for sample in samples], os.getpid())
        assert any(size is not None and size >= held.numel() for size in own)
