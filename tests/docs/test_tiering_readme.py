"""Commands of the page on tiers run as they stand."""

import asyncio
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.accounting.outcomes import tiered_record
from tests.fakes.balancer import cluster
from tests.fakes.loops import async_test
from tests.reports.logs import simulate

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "balancer" / "core" / "tiering" / "README.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Feedback and reports\n")[1].split("\n## ")[0]
LINES = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
REPORTS = [line for line in LINES if line.startswith("balancer tier report")]


def test_every_command_is_known():
    assert len(REPORTS) == 3
    assert [line for line in LINES if line not in REPORTS and not line.startswith("curl ")] == []


@pytest.mark.parametrize("line", REPORTS)
def test_reports(line, tmp_path):
    simulate(tmp_path / "outcomes.db", 300, share=0.3, text="prompt {}")
    words = [sys.executable, "-m", *shlex.split(line)]
    done = subprocess.run(
        words,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@async_test
async def test_the_curl(tmp_path):
    (line,) = (each for each in LINES if each.startswith("curl "))
    decision_id = re.search(r'"decision_id": "(\w+)"', line)[1]
    async with cluster(outcome_log=tmp_path / "outcomes.db") as (front, _):
        front.balancer.outcomes.add(tiered_record(decision_id, tenant=""))
        words = shlex.split(line.replace("localhost:8080", f"127.0.0.1:{front.balancer.listeners.ports[0]}"))
        asked = await asyncio.create_subprocess_exec(
            *words, "--silent", "--fail", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asked.communicate()
    assert asked.returncode == 0
    assert b'"rating":1.0' in out
