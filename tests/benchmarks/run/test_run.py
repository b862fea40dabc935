"""The command `run`, as a user has it: a target, a workload, figures, files and an exit code."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.fleets import Fleet
from benchmarks.processes import free_ports, started, wait_listening
from tests.benchmarks.xml_of import xml_of

CORES = frozenset(os.sched_getaffinity(0))
SHORT = [
    "--workload",
    "all_identical",
    "--scale",
    "40",
    "--rate",
    "20",
    "--duration",
    "1.5",
    "--warm-up",
    "0.2",
]


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "balancer", "replica", "--port", str(port), "--profile", "tiny"]
    with started(command, cores=CORES, log=tmp_path_factory.mktemp("replica") / "log") as child:
        wait_listening(child, port)
        yield f"http://127.0.0.1:{port}"


def run(*options):
    result = CliRunner().invoke(app, ["run", *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, " ".join(result.output.replace("│", " ").split())


def answers_of(url):
    return asyncio.run(Fleet([url], "").samples())[url].generation_tokens


def test_a_target_is_measured_and_its_figures_written(replica, tmp_path):
    out, html, junit = tmp_path / "r.json", tmp_path / "r.html", tmp_path / "r.xml"
    code, told = run(
        *("--target", f"{replica}/v1", *SHORT, "--replica-urls", replica, "--goodput", "ttft:60000"),
        *("--assert", "failed<=0", "--assert", "ttft_p90_ms<60000"),
        *("--out", str(out), "--html", str(html), "--junit", str(junit)),
    )
    document = json.loads(out.read_text())
    cases = {case.get("name"): len(case) for case in xml_of(junit.read_text()).iter("testcase")}
    # whether the generator kept up is the machine's doing, and the exit code says it with the others
    assert cases == {
        "the run is valid": int(not document["valid"]),
        "failed <= 0": 0,
        "p90_ttft_ms < 60000": 0,
    }
    assert code == int(not document["valid"])
    assert document["benchmark"] == "run"
    assert document["completed"] == document["num_prompts"] > 0
    assert document["model_id"] == "embedded-model"
    assert document["plan"]["rate"] == 20
    assert document["goodput_share"] == 1
    assert list(document["engines"]) == [replica]
    assert document["engine_hit_rate"] > 0
    assert "all_identical" in html.read_text()
    assert "TTFT" in told


def test_the_same_seed_is_the_same_load(replica, tmp_path):
    digests = []
    for number, seed in enumerate(("1", "1", "2")):
        out = tmp_path / f"{number}.json"
        run("--target", replica, *SHORT, "--duration", "0.5", "--seed", seed, "--out", str(out))
        digests.append(json.loads(out.read_text())["plan"]["digest"])
    assert digests[0] == digests[1] != digests[2]


def test_a_rate_in_steps_and_bursts_reshapes_the_workload(replica, tmp_path):
    out = tmp_path / "r.json"
    options = [*SHORT[:4], "--rate", "4@0.5,30", "--burstiness", "0.5", "--duration", "1"]
    run("--target", replica, *options, "--out", str(out))
    plan = json.loads(out.read_text())["plan"]
    assert plan["burstiness"] == 0.5


def test_a_check_that_does_not_hold_is_exit_code_1(replica):
    code, told = run("--target", replica, *SHORT, "--assert", "completed<1")
    assert code == 1
    assert "completed < 1: missed: measured" in told


def test_an_interrupted_run_keeps_what_it_measured(replica, tmp_path):
    out = tmp_path / "r.json"
    command = [sys.executable, "-m", "benchmarks", "run", "--target", replica, *SHORT[:4], "--rate", "20"]
    command += ["--duration", "100", "--warm-up", "0", "--out", str(out)]
    before = answers_of(replica)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while not answers_of(replica) > before:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    document = json.loads(out.read_text())
    assert process.returncode == 130
    assert (document["valid"], document["invalid"]) == (False, "interrupted")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "--target: expected the base URL"),
        (["--target", "ftp://x"], "expected http(s)://"),
        (["--target", "http://127.0.0.1:1", "--rate", "1"], "can't be reached"),
        (["--target", "http://h", "--model", "m"], "--rate, --load: expected one of them"),
        (["--target", "http://h", "--model", "m", "--rate", "fast"], "expected RATE"),
        (["--target", "http://h", "--model", "m", "--rate", "1", "--burstiness", "0"], "--burstiness: expected"),
        (["--target", "http://h", "--model", "m", "--load", "1", "--burstiness", "2"], "expected --rate with it"),
        (["--target", "http://h", "--model", "m", "--rate", "1", "--goodput", "fast"], "--goodput: expected"),
        (["--target", "http://h", "--model", "m", "--rate", "1", "--assert", "x"], "--assert: expected"),
        (["--target", "http://h", "--model", "m", "--rate", "1", "--assert", "x<1"], "--assert: expected a figure"),
        (["--target", "http://h", "--model", "m", "--rate", "1", "--workload", "nothing"], "--workload: expected a file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(options, told):
    options = [*options, "--bytes-per-token", "4"] if options else options
    code, output = run(*options)
    assert code == 2
    assert told in output


def test_workloads_are_listed():
    code, told = run("--list")
    assert code == 0
    assert "fresh_questions" in told
