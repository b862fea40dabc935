"""Every command of the README runs: here, or for a stated reason elsewhere."""

import asyncio
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from balancer.config import Settings
from benchmarks.processes import free_ports
from tests.fakes.balancer import cluster
from tests.fakes.loops import async_test
from tests.fakes.replica import Replica

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [block.strip() for block in re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)]
YAML = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
INDENTED = [line.strip() for line in README.splitlines() if line.startswith("    scripts/")]

RUN_ELSEWHERE = {
    "pip install vllm-balancer": "needs a package index; CI installs the checkout",
    "scripts/demo": "CI runs it",
    "scripts/test": "runs this test",
}
ENDLESS = ("balancer serve", "balancer replica", "balancer agent")


def command(block, replicas, port):
    block = block.replace("http://gpu-a:8000", replicas[0]).replace("http://gpu-b:8000", replicas[1])
    block = block.replace("localhost:8080", f"127.0.0.1:{port}").replace("--port 8080", f"--port {port}")
    block = block.replace("--port 8000", "--port 0").replace("my-model", "m")
    block = block.replace("--port 9401", "--port 0")
    words = shlex.split(block)
    if words[0] in {"balancer", "python"}:
        words[:1] = [sys.executable, "-m", "balancer"] if words[0] == "balancer" else [sys.executable]
    return words


def test_every_command_is_known():
    commands = BLOCKS + [line.split(" #")[0].strip() for line in INDENTED]
    assert len(commands) >= 8
    starts = (*ENDLESS, "curl ", "balancer check-config", "balancer top", "python -m benchmarks")
    assert [each for each in commands if each not in RUN_ELSEWHERE and not each.startswith(starts)] == []


def test_the_scripts_are_there():
    for line in INDENTED:
        assert (ROOT / line.split()[0]).stat().st_mode & 0o100


@pytest.mark.parametrize("block", YAML)
def test_configurations(block):
    assert Settings.model_validate(yaml.safe_load(block))


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.startswith(("balancer check-config", "python -m benchmarks"))]
)
def test_commands_that_end(block):
    words = command(block, ["http://127.0.0.1:1", "http://127.0.0.1:2"], 18080)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@async_test
async def test_serve_and_curl():
    replicas = [await Replica().start() for _ in range(2)]
    (port,) = free_ports(1)
    urls = [replica.url for replica in replicas]
    (serve,) = [block for block in BLOCKS if block.startswith("balancer serve")]
    (curl,) = [block for block in BLOCKS if block.startswith("curl")]
    words = [*command(serve, urls, port), "--host", "127.0.0.1"]
    process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(20):
            while b"listening on" not in await process.stderr.readline():
                pass
        asked = await asyncio.create_subprocess_exec(
            *command(curl, urls, port),
            "--silent",
            "--fail",
            "--max-time",
            "10",
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await asked.communicate()
        assert asked.returncode == 0
        assert b"[DONE]" in out
        (sent,) = [request for replica in replicas for request in replica.posts]
        assert sent.all("content-type") == ["application/json"]
    finally:
        process.kill()
        await process.wait()
        process._transport.close()
        for replica in replicas:
            await replica.stop()


@async_test
async def test_top():
    (block,) = [block for block in BLOCKS if block.startswith("balancer top")]
    async with cluster(admin_port=0) as (front, _):
        words = shlex.split(
            block.replace("localhost:8081", f"127.0.0.1:{front.balancer.listeners.ports[-1]}")
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *words), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        assert b"healthy" in out


@async_test
async def test_the_client_of_openai():
    (snippet,) = PYTHON
    async with cluster() as (front, _):
        code = snippet.replace("localhost:8080", f"127.0.0.1:{front.balancer.listeners.ports[0]}")
        names = {}

        def models():
            exec(code, names)  # noqa: S102 - the README's own snippet
            with names["client"] as client:
                return [model.id for model in client.models.list()]

        assert await asyncio.to_thread(models) == ["m"]


@pytest.mark.parametrize(
    ("what", "told"),
    [("balancer replica", b"on http://127.0.0.1:"), ("balancer agent", b"listening on http://127.0.0.1:")],
)
@async_test
async def test_what_starts(what, told):
    (block,) = [block for block in BLOCKS if block.startswith(what)]
    process = await asyncio.create_subprocess_exec(
        *command(block, ["", ""], 0),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(20):
            assert told in await process.stdout.readline()
    finally:
        process.kill()
        await process.wait()
        process._transport.close()
