"""`balancer agent`: its pages, its options, and how it starts and stops."""

import asyncio
import json
import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession

from balancer.agent import Agent, AgentOptions, serve_agent
from balancer.observers.gpu import wire
from balancer.observers.gpu.reader import NvmlReader
from tests.accounting.test_metrics import value
from tests.fakes.loops import async_test
from tests.fakes.nvml import NOT_LOADED, FakeNvml, error
from tests.fakes.served import served

ROOT = Path(__file__).parents[1]


async def fetched(url):
    async with ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.read()


@async_test
async def test_its_pages(tmp_path):
    nvml = FakeNvml(2)
    agent = Agent(NvmlReader(lambda: nvml, proc=tmp_path), 1.0)
    async with served(agent.app) as url:
        _, body = await fetched(f"{url}/gpus")
        with pytest.raises(ValueError, match="nothing was read yet"):
            wire.read(body, 0.0)
        assert await agent.read() == 1.0
        _, body = await fetched(f"{url}/gpus")
        told = json.loads(body)
        assert (told["version"], told["driver"], told["problem"]) == (1, "580.159.04", None)
        assert told["gpus"][0]["temperature_c"] == 57
        assert "memory_reserved_bytes" in told["gpus"][0]
        assert "host" in told
        _, page = await fetched(f"{url}/metrics")
        assert value(page, "balancer_gpu_power_watts", replica="", gpu="GPU-1") == pytest.approx(691.912)
        assert await fetched(f"{url}/health") == (200, b"")
        assert (await fetched(f"{url}/else"))[0] == 404
    agent.close()


@async_test
async def test_what_was_read_stands_while_nothing_can_be_read(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    nvml = FakeNvml(1)
    agent = Agent(NvmlReader(lambda: nvml, proc=tmp_path), 1.0)
    async with served(agent.app) as url:
        await agent.read()
        nvml.faults["nvmlDeviceGetCount"] = error(NOT_LOADED)
        for _ in range(3):
            await agent.read()
        assert len(wire.read((await fetched(f"{url}/gpus"))[1], 0.0)[1]) == 1
        nvml.faults.clear()
        await agent.read()
    agent.close()
    assert [record.message for record in caplog.records if record.name == "balancer.agent"] == [
        "1 GPUs are read",
        "GPUs cannot be read: Driver Not Loaded",
        "1 GPUs are read",
    ]


@async_test
async def test_it_serves_until_it_is_stopped(tmp_path):
    stop, ports = asyncio.Event(), asyncio.Queue()
    options = AgentOptions(port=0, interval_s=0.01)
    reader = NvmlReader(lambda: FakeNvml(1), proc=tmp_path)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve_agent(options, reader, stop, ports.put_nowait))
        port = await ports.get()
        while b'"gpus":[{' not in (await fetched(f"http://127.0.0.1:{port}/gpus"))[1]:
            await asyncio.sleep(0.005)
        taken = AgentOptions(port=port)
        assert await serve_agent(taken, reader, asyncio.Event(), ports.put_nowait) == 1
        stop.set()
    assert serving.result() == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--port", "70000"], "port: expected 0 to 65535, got 70000"),
        (["--host", ""], "host: expected an address, got nothing"),
        (["--interval-s", "0"], "interval_s: expected above 0 and at most 10, got 0"),
        (["--interval-s", "nan"], "interval_s: expected above 0 and at most 10, got nan"),
    ],
)
def test_wrong_options(options, says, capsys):
    from balancer.cli import main

    with pytest.raises(SystemExit) as left:
        main(["agent", *options])
    assert (left.value.code, capsys.readouterr().err) == (2, f"balancer agent: {says}\n")


def test_the_process_ends_when_asked():
    command = [sys.executable, "-m", "balancer", "agent", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert "listening on http://127.0.0.1:" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0
