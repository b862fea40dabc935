"""What the documents say of names, limits and places is what the code says."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import typer
import yaml

from balancer.accounting.metrics import Metrics
from balancer.config import Settings
from balancer.config.names import FLAGS
from balancer.core.admission import Line
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.pins import MAX_PINS
from balancer.core.scheduling import RoundRobin
from balancer.forwarding.exchange import HOLD_BYTES
from benchmarks.__main__ import app as benchmarks

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", ".github/*.md", "balancer/*.md", "deploy/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "balancer" / "ARCHITECTURE.md").read_text(encoding="utf-8")

OTHERS_FLAGS = {
    "--config": "of the commands themselves",
    "--profile": "of balancer replica",
    "--once": "of scripts/demo and balancer top",
    "--json": "of balancer top",
    "--url": "of balancer top",
    "--strict": "of mypy",
    "--enable-prompt-tokens-details": "of vLLM",
    "--long-prefill-token-threshold": "of vLLM",
    "--stop-timeout": "of docker",
    "--cap-drop": "of docker",
    "--read-only": "of docker",
    "--ulimit": "of docker",
    "--disable-log-stats": "of vLLM",
    "--max-num-queued-reqs": "of vLLM",
    "--signal": "of docker",
    "--use-server-token-count": "of AIPerf",
    "--gpus": "of docker too",
    "--pid": "of docker",
    "--network": "of docker",
}
DEFAULTS = {
    "`--drain-timeout-s` (300 s)": ("drain_timeout_s", 300),
    "5 s to connect": ("connect_timeout_s", 5),
    "512 MiB (`--max-body-bytes`": ("max_body_bytes", 512 * 1024**2),
    "64 KiB (`--max-header-bytes`": ("max_header_bytes", 64 * 1024),
    "three failures in a": ("health_failure_threshold", 3),
    "first good probe": ("health_success_threshold", 1),
}


def each_page(test):
    return pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))(test)


def table_after(heading):
    """The first cells of the first table of a section, and whatever else stands in its rows."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return [row.split("|")[1] for row in rows]


def test_policies():
    named = re.findall(r"`(\w+)`", "".join(table_after("Choose a policy")))
    assert sorted(named) == sorted(get_args(Settings.model_fields["policy"].annotation))
    assert f"`{Settings.model_fields['policy'].default}` (default)" in README


def test_metrics():
    page = Metrics(Fleet(), "cache_aware", Line(Fleet(), RoundRobin())).render("")[0].decode()
    served = set(re.findall(r"^# TYPE (balancer_\w+)", page, re.MULTILINE))
    assert set(re.findall(r"`(balancer_\w+)`", "".join(table_after("Monitoring")))) == served


@pytest.mark.parametrize("phrase", DEFAULTS)
def test_defaults(phrase):
    name, value = DEFAULTS[phrase]
    assert phrase in README
    assert Settings.model_fields[name].default == value


def test_constants():
    assert f"last {MAX_PINS:,} ids" in README
    assert f"(up to {HOLD_BYTES // 1024} KiB)" in README


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        ".github/SECURITY.md",
        "deploy/README.md",
        "deploy/prometheus/RUNBOOK.md",
        "balancer/ARCHITECTURE.md",
        "benchmarks/README.md",
        "benchmarks/METHOD.md",
    ],
)
def test_flags(path):
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (ROOT / path).read_text(encoding="utf-8")))
    known = {f"--{name.replace('_', '-')}" for name in Settings.model_fields} | OTHERS_FLAGS.keys()
    known |= {flag if flag.startswith("--") else f"--{flag.replace('_', '-')}" for flag in FLAGS}
    known |= {"--help", "--port", "--rm"}
    known |= {
        option
        for command in typer.main.get_command(benchmarks).commands.values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert named <= known


@each_page
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if not target.startswith(("https://", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


@each_page
def test_paths_are_there(page):
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:balancer|benchmarks|deploy|scripts|tests)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def test_the_architecture_has_every_room_and_the_import_rule():
    table = "".join(line for line in ARCHITECTURE.splitlines() if line.startswith("| `"))
    rooms = {path.name for path in (ROOT / "balancer").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert {
        r for r in rooms - {"__init__.py", "__pycache__"} if f"`{r.removesuffix('/')}" not in table
    } == set()
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    whole, core = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert " > ".join(whole) in ARCHITECTURE
    assert " > ".join(core) in ARCHITECTURE


def test_ci_runs_scripts_that_are_there():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
    runs = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert runs == ["bash .ci/run", "scripts/test"]
    assert all((ROOT / run.split()[-1]).is_file() for run in runs)
