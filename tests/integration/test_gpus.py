"""What GPUs say, through the front door: NVML on this host, agents and exporters of others."""

import asyncio
import contextlib
import logging
import threading
import time

import pytest
from aiohttp import web

from balancer.agent import Agent
from balancer.core.fleet.gpu import Condition
from balancer.embedded.options import ReplicaOptions
from balancer.embedded.server import create_app
from balancer.observers.gpu import watch
from balancer.observers.gpu.reader import NvmlReader
from balancer.observers.supervisor import Supervisor
from tests.accounting.test_metrics import value
from tests.fakes.balancer import balancing
from tests.fakes.client import chat
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.nvml import NO_LIBRARY, UNINITIALIZED, FakeNvml, error
from tests.fakes.processes import FakeProc
from tests.fakes.replica import METRICS, Replica
from tests.fakes.served import served
from tests.integration.test_admin import described

ON = {"gpus": "auto", "gpu_interval_s": 0.02, "policy": "round_robin"}


@contextlib.asynccontextmanager
async def two(tmp_path, nvml, **settings):
    """Replicas r0 and r1, whose engines compute on GPU-0 and GPU-1."""
    replicas = [await Replica(f"r{number}").start() for number in range(2)]
    proc = FakeProc(tmp_path)
    for number, replica in enumerate(replicas):
        proc.add(10 + number, replica.port)
        proc.add(20 + number, parent=10 + number)
        nvml.processes[f"GPU-{number}"] = [(20 + number, 1000)]
    reader = NvmlReader(lambda: nvml, proc=tmp_path)
    try:
        async with balancing(*replicas, reader=reader, **{**ON, **settings}) as front:
            yield front, replicas
    finally:
        for replica in replicas:
            await replica.stop()


async def served_by(front, count=8):
    return {(await front.ask(chat(f"{n}"))).json()["served_by"] for n in range(count)}


def condition(front, number=0):
    return front.fleet[number].gpu.condition


async def page(front):
    return (await front.ask(target="/metrics")).body


@on_both_loops
async def test_a_sick_gpus_embedded_replica_gets_no_new_requests_until_it_is_well():
    nvml = FakeNvml(2)
    async with contextlib.AsyncExitStack() as stack:
        apps = [create_app(ReplicaOptions(model="m", speed=100, seed=seed)) for seed in range(2)]
        asked = []

        @web.middleware
        async def count(request, handler):
            if request.method == "POST":
                asked.append(request.url.port)
            return await handler(request)

        for app in apps:
            app.middlewares.insert(0, count)
        urls = [await stack.enter_async_context(served(app)) for app in apps]
        given = [{"url": url, "name": f"r{n}", "gpus": [n]} for n, url in enumerate(urls)]
        front = await stack.enter_async_context(balancing(*given, reader=NvmlReader(lambda: nvml), **ON))
        ports = [int(url.rpartition(":")[2]) for url in urls]
        await until(lambda: all(replica.gpu.gpus for replica in front.fleet))

        async def ask_many():
            asked.clear()
            for number in range(8):
                assert (await front.ask(chat(f"{number}", max_tokens=1))).status == 200
            return set(asked)

        assert await ask_many() == set(ports)
        nvml.recovery["GPU-0"] = 1
        await until(lambda: condition(front) is Condition.SICK)
        assert await ask_many() == {ports[1]}
        nvml.recovery["GPU-1"] = 1
        await until(lambda: condition(front, 1) is Condition.SICK)
        assert await ask_many() == set(ports)  # nobody else is there
        nvml.recovery.clear()
        await until(lambda: condition(front) is condition(front, 1) is Condition.SOUND)
        assert await ask_many() == set(ports)


@on_both_loops
async def test_an_xid_counts_until_the_engine_began_anew(tmp_path, caplog):
    nvml = FakeNvml(2)
    async with two(tmp_path, nvml, admin_port=0) as (front, replicas):
        await until(lambda: front.fleet[0].gpu.gpus)
        nvml.xids.append(("GPU-0", 48))
        await until(lambda: condition(front) is Condition.SICK)
        assert await served_by(front) == {"r1"}
        shown = (await described(front))["gpu"]
        assert (shown["condition"], shown["why"]) == ("sick", "GPU 0: Xid 48")
        replicas[0].metrics = METRICS.replace(b"1000.0", str(time.time() + 1).encode())
        await until(lambda: condition(front) is Condition.SOUND)
        await until(lambda: front.fleet[0].warm_from_s is not None)
        assert await served_by(front) == {"r0", "r1"}
        told = await page(front)
        assert value(told, "balancer_gpu_xid_errors_total", replica="r0", gpu="GPU-0", xid="48") == 1
    lines = [r.message for r in caplog.records if r.name == "balancer.gpu"]
    assert "the GPU of replica r0 is sick (GPU 0: Xid 48): others go before it" in lines


@on_both_loops
async def test_a_lost_gpu_is_remembered_by_whose_it_was(tmp_path):
    nvml = FakeNvml(2)
    async with two(tmp_path, nvml) as (front, _):
        await until(lambda: all(replica.gpu.gpus for replica in front.fleet))
        nvml.lose("GPU-0")
        await until(lambda: condition(front) is Condition.LOST)
        assert await served_by(front) == {"r1"}
        assert value(await page(front), "balancer_gpu_lost", replica="r0", gpu="GPU-0") == 1
        nvml.find("GPU-0")
        await until(lambda: condition(front) is Condition.SOUND)


@async_test
async def test_what_is_told_of_gpus(tmp_path):
    nvml = FakeNvml(3)
    async with two(tmp_path, nvml, admin_port=0) as (front, replicas):
        await until(lambda: front.fleet[0].gpu.gpus)
        told = await page(front)
        key = {"replica": "r0", "gpu": "GPU-0"}
        assert value(told, "balancer_gpu_temperature_celsius", **key) == 57
        assert value(told, "balancer_gpu_memory_bytes", kind="free", **key) == 148378877952
        assert value(told, "balancer_gpu_process_memory_bytes", **key) == 1000
        assert value(told, "balancer_gpu_throttled", reason="sw_power_cap", **key) == 1
        assert value(told, "balancer_gpu_temperature_celsius", replica="", gpu="GPU-2") == 57
        assert value(told, "balancer_replica_gpu_condition", replica="r1", condition="sound") == 1
        shown = (await described(front))["gpu"]
        assert {name: shown[name] for name in ("condition", "why", "slowness", "memory_share")} == {
            "condition": "sound",
            "why": None,
            "slowness": 1.0,
            "memory_share": 1.0,
        }
        (gpu,) = shown["gpus"]
        process = {"pid": 20, "used_bytes": 1000, "ports": [replicas[0].port]}
        assert (gpu["uuid"], gpu["own_bytes"], gpu["processes"]) == ("GPU-0", 1000, [process])


@async_test
async def test_a_value_that_cannot_be_read_has_no_series(tmp_path):
    nvml = FakeNvml(2)
    nvml.faults["nvmlDeviceGetTemperature"] = error(3)
    async with two(tmp_path, nvml) as (front, _):
        await until(lambda: front.fleet[0].gpu.gpus)
        told = (await page(front)).decode()
        assert "balancer_gpu_power_watts{" in told
        assert "balancer_gpu_temperature_celsius{" not in told


@async_test
async def test_without_a_driver_nothing_is_there_and_nothing_stops(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    nvml = FakeNvml(2)
    nvml.faults["nvmlInit"] = error(NO_LIBRARY)
    async with two(tmp_path, nvml) as (front, _):
        await until(lambda: nvml.calls.count("nvmlInit") >= 3)
        assert await served_by(front) == {"r0", "r1"}
        told = (await page(front)).decode()
        assert "balancer_gpu_info{" not in told
        assert 'observer="gpus' not in told
        nvml.faults.clear()  # it is installed
        await until(lambda: front.fleet[0].gpu.gpus)
    lines = [(r.levelname, r.message) for r in caplog.records if r.name == "balancer.gpu"]
    assert lines == [
        ("INFO", "GPUs of this host cannot be read: NVML Shared Library Not Found"),
        ("INFO", "GPUs of this host are read again"),
    ]


@async_test
async def test_a_driver_that_restarts_is_read_again(tmp_path):
    nvml = FakeNvml(2)
    async with two(tmp_path, nvml) as (front, _):
        await until(lambda: front.fleet[0].gpu.gpus)
        nvml.faults["nvmlDeviceGetTemperature"] = error(UNINITIALIZED)
        counted = 'observer="gpus",replica=""'
        while counted not in (await page(front)).decode():
            await asyncio.sleep(0.01)
        nvml.faults.clear()
        begun = nvml.calls.count("nvmlInit")
        await until(lambda: nvml.calls.count("nvmlInit") > begun or nvml.initialised)
        nvml.xids.append(("GPU-0", 95))
        await until(lambda: condition(front) is Condition.SICK)


@async_test
async def test_a_driver_that_hangs_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "TIMEOUT_S", 0.05)
    nvml, free = FakeNvml(2), threading.Event()
    async with two(tmp_path, nvml) as (front, _):
        await until(lambda: front.fleet[0].gpu.gpus)
        nvml.faults["nvmlDeviceGetTemperature"] = lambda *_: free.wait()
        while 'observer="gpus_hung",replica=""' not in (await page(front)).decode():
            await asyncio.sleep(0.01)
        assert await served_by(front) == {"r0", "r1"}
        assert sum(thread.name == "nvml" for thread in threading.enumerate()) == 1
        nvml.faults.clear()
        nvml.recovery["GPU-0"] = 1
        free.set()
        await until(lambda: condition(front) is Condition.SICK)


@async_test
async def test_what_was_said_grows_old(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "GPU_MAX_AGE_S", 0.2)
    nvml = FakeNvml(2)
    async with two(tmp_path, nvml) as (front, _):
        nvml.recovery["GPU-0"] = 1
        await until(lambda: condition(front) is Condition.SICK)
        nvml.faults["nvmlDeviceGetCount"] = error(999)
        await until(lambda: condition(front) is Condition.SOUND)
        assert "balancer_gpu_info{" not in (await page(front)).decode()


@async_test
async def test_gpus_are_turned_off_and_on_by_a_reload(tmp_path):
    nvml = FakeNvml(2)
    async with two(tmp_path, nvml) as (front, replicas):
        nvml.recovery["GPU-0"] = 1
        await until(lambda: condition(front) is Condition.SICK)
        await front.reload(*replicas, **{**ON, "gpus": "off"})
        assert condition(front) is Condition.SOUND
        assert await served_by(front) == {"r0", "r1"}
        assert "balancer_gpu_info{" not in (await page(front)).decode()
        await front.reload(*replicas, **ON)
        await until(lambda: condition(front) is Condition.SICK)
        given = [{"url": r.url, "name": r.name, "gpus": []} for r in replicas]
        await front.reload(*given, **ON)
        assert condition(front) is Condition.SOUND
        await front.reload(replicas[1], **ON)
        assert [replica.id for replica in front.fleet] == ["r1"]


@async_test
async def test_an_agent_tells_of_another_hosts_gpus(tmp_path):
    nvml = FakeNvml(1)
    replica = await Replica("r0").start()
    other = await Replica("r1").start()
    proc = FakeProc(tmp_path)
    proc.add(10, replica.port)
    nvml.processes["GPU-0"] = [(10, 1000)]
    agent, supervisor = Agent(NvmlReader(lambda: nvml, proc=tmp_path), 0.02), Supervisor()
    try:
        async with served(agent.app) as url:
            supervisor.start("gpus", agent.read)
            given = {"url": replica.url, "name": "r0", "gpu_agent": url}
            async with balancing(given, other, **{**ON, "gpus": "auto"}, reader=no_gpus()) as front:
                await until(lambda: front.fleet[0].gpu.gpus)
                assert front.fleet[0].gpu.gpus[0].own_bytes == 1000
                nvml.xids.append(("GPU-0", 119))
                await until(lambda: condition(front) is Condition.SICK)
                assert await served_by(front) == {"r1"}
                nvml.faults["nvmlInit"] = nvml.faults["nvmlDeviceGetCount"] = error(NO_LIBRARY)
                told = (await page(front)).decode()
                assert 'gpu="GPU-0",host="' in told
    finally:
        await supervisor.stop()
        agent.close()
        await replica.stop()
        await other.stop()


def no_gpus():
    nvml = FakeNvml(0)
    return NvmlReader(lambda: nvml)


@async_test
async def test_dcgm_exporter_tells_of_another_hosts_gpus():
    xid = 0

    async def metrics(_):
        return web.Response(
            text=f'DCGM_FI_DEV_XID_ERRORS{{gpu="3",UUID="GPU-x",modelName="H100"}} {xid}\n'
            'DCGM_FI_DEV_GPU_TEMP{gpu="3",UUID="GPU-x"} 57\n'
        )

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics)])
    replicas = [await Replica(f"r{number}").start() for number in range(2)]
    try:
        async with served(app) as url:
            given = {"url": replicas[0].url, "name": "r0", "dcgm": url, "gpus": [3]}
            async with balancing(given, replicas[1], **ON, reader=no_gpus()) as front:
                await until(lambda: front.fleet[0].gpu.gpus)
                xid = 79
                await until(lambda: condition(front) is Condition.LOST)
                assert await served_by(front) == {"r1"}
    finally:
        for replica in replicas:
            await replica.stop()


@pytest.mark.parametrize(
    ("status", "text", "says"),
    [
        (500, "", "status 500"),
        (200, "<html>", "the page tells of no GPU"),
        (200, "x" * 2000, "more than 1000 bytes"),
    ],
)
@async_test
async def test_an_exporter_that_cannot_be_read_is_told_of_once(status, text, says, caplog, monkeypatch):
    monkeypatch.setattr(watch, "MAX_PAGE_BYTES", 1000)
    reads = 0

    async def metrics(_):
        nonlocal reads
        reads += 1
        return web.Response(status=status, text=text)

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics)])
    replica = await Replica("r0").start()
    try:
        async with served(app) as url:
            given = {"url": replica.url, "name": "r0", "dcgm": f"{url}/metrics", "gpus": [0]}
            async with balancing(given, **ON, reader=no_gpus()) as front:
                await until(lambda: reads >= 3)
                assert await served_by(front, 2) == {"r0"}
                assert 'balancer_observer_failures_total{observer="gpus"' in (await page(front)).decode()
    finally:
        await replica.stop()
    lines = [r.message for r in caplog.records if r.name == "balancer.gpu" and r.levelname == "WARNING"]
    assert lines == [f"GPUs of {url}/metrics cannot be read: {says}"]


@async_test
async def test_a_source_that_is_not_there(caplog):
    replica = await Replica("r0").start()
    gone = await Replica("gone").start()
    await gone.stop()
    try:
        given = {"url": replica.url, "name": "r0", "gpu_agent": gone.url}
        async with balancing(given, **ON, reader=no_gpus()) as front:
            while 'observer="gpus"' not in (await page(front)).decode():
                await asyncio.sleep(0.01)
            assert await served_by(front, 2) == {"r0"}
    finally:
        await replica.stop()
    assert any("cannot be read: " in record.message for record in caplog.records)


@async_test
async def test_gpus_nobody_computes_on_are_nobodys(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    nvml = FakeNvml(1)
    async with two(tmp_path, nvml) as (front, _):
        await until(lambda: front.fleet[0].gpu.gpus)
        nvml.lose("GPU-0")
        await until(lambda: any("r1: no GPU has" in record.message for record in caplog.records))
        assert front.fleet[1].gpu.gpus == ()
