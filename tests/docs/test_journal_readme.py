"""Commands of the page on receipts and the journal run as they stand, and tables tell what is there."""

import asyncio
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from balancer.frontend.decisions import _FILTERS, whole
from tests.fakes.balancer import cluster
from tests.fakes.client import stream
from tests.fakes.loops import async_test

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "balancer" / "journal" / "README.md").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


def test_every_command_is_known():
    starts = ("curl localhost:8081", 'curl "localhost:8081', "balancer explain ", "balancer replay ")
    assert len(LINES) == 9
    assert [line for line in LINES if not line.startswith(starts)] == []


@pytest.mark.parametrize("line", LINES)
@async_test
async def test_commands(line, tmp_path):
    journal = tmp_path / "balancer.journal"
    (tmp_path / "request.json").write_text(json.dumps(stream("why there?")))
    (tmp_path / "balancer.yaml").write_text("replicas: [{url: 'http://gpu-a:8000', models: [m]}]")
    async with cluster(2, admin_port=0, journal=journal, policy="cache_aware") as (front, _):
        answer = await front.ask(stream("hello"))
        admin = front.balancer.listeners.ports[1]
        line = line.replace("localhost:8081", f"127.0.0.1:{admin}")
        line = line.replace("DECISION", answer.get("x-balancer-decision-id"))
        if line.startswith("balancer replay"):
            front.balancer.journal.decider.flush()
            front.balancer.journal.close()
        words = shlex.split(line)
        words[:1] = (
            [sys.executable, "-m", "balancer"] if words[0] == "balancer" else ["curl", "-sS", "--fail"]
        )
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin:/usr/local/bin"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        assert out
        process._transport.close()
        if "curl" in line or "--json" in line:
            assert json.loads(out)


@async_test
async def test_fields_and_filters_are_there():
    async with cluster(1, admin_port=0) as (front, _):
        await front.ask(stream("hello"))
        (record,) = front.balancer._lifecycle._receipts.latest()
        (attempt,) = whole(record)["trail"]
    table = PAGE.split("## Receipts")[1].split("## Explain")[0]
    for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", row):
            assert name in attempt
    listed = re.search(r"filtered by (.*?)\. One decision", table, re.DOTALL)[1]
    assert set(
        re.findall(r"`(model|tenant|tier|replica|reason|outcome|status|state)`", listed)
    ) == _FILTERS - {"limit"}
