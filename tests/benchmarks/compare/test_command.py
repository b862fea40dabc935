"""The command `compare`: a result, a journal of what was broken off, and one readable line for what is wrong."""

import json

import pytest
import typer
from typer.testing import CliRunner

from tests.benchmarks.compare.fakes import TTFT_S, FakeKit

command = pytest.importorskip("benchmarks.compare.command")

OURS, ROBIN = "balancer/predicted_latency", "balancer/round_robin"


@pytest.fixture
def kit(monkeypatch):
    monkeypatch.setitem(TTFT_S, "nginx/hash", 0.4)
    made = FakeKit()
    monkeypatch.setattr(command, "Bench", lambda *_: made)
    monkeypatch.setattr(
        command,
        "absent",
        lambda arms, _: {"envoy/ring_hash": "no envoy"} if "envoy/ring_hash" in arms else {},
    )
    monkeypatch.setattr(command, "predict", lambda rows, *_: rows)
    monkeypatch.setattr(command, "sections", lambda results: [])
    return made


@pytest.fixture
def compare(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(command.compare)

    def run(*options):
        return CliRunner().invoke(app, ["--loads", "0.5,0.9", "--workloads", "chat", *options])

    return run


def test_a_result_holds_every_run_and_the_journal_is_gone(kit, compare, tmp_path):
    done = compare("--out", "a.json", "--html", "a.html", "--peers", "nginx/hash,envoy/ring_hash")
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "a.json").read_text())
    assert (result["benchmark"], len(result["runs"])) == ("compare", 12)
    assert result["plan"]["arms"] == [OURS, ROBIN, "nginx/hash"]
    assert result["left_out"] == {"envoy/ring_hash": "no envoy"}
    assert "envoy/ring_hash is left out: no envoy" in done.output
    assert "beside balancer/predicted_latency" in done.output
    assert not (tmp_path / "a.json.journal").exists()
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")


def test_what_was_broken_off_is_kept_and_gone_on_with(kit, compare, tmp_path):
    kit.interrupt_at = 4
    broken = compare("--out", "a.json")
    assert broken.exit_code == 130
    assert "--resume a.json.journal goes on with it" in broken.output
    assert len(json.loads((tmp_path / "a.json").read_text())["runs"]) == 3
    kit.interrupt_at = None
    assert compare("--out", "a.json").exit_code == 2
    assert compare("--out", "a.json", "--resume", "a.json.journal", "--seed", "2").exit_code == 2
    assert compare("--out", "a.json", "--resume", "a.json.journal").exit_code == 0
    assert len(json.loads((tmp_path / "a.json").read_text())["runs"]) == 8


def test_check_fails_where_a_goal_is_open(kit, compare):
    assert compare("--check").exit_code == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--policies", "best"), "--policies"),
        (("--peers", "mine"), "--peers"),
        (("--loads", "much"), "--loads: expected numbers by commas"),
        (("--loads", "0"), "--loads: expected numbers above 0"),
        (("--knee", "soon"), "--knee: expected catalogue, measure or"),
        (("--goodput", "speed:1"), "--goodput"),
        (("--lanes", "4000"), "--lanes: expected at most"),
        (("--resume", "nowhere"), "--resume: expected the journal of a comparison"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(kit, compare, options, said):
    done = compare(*options)
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())
    assert "Traceback" not in done.output


def test_replicas_that_fail_are_said(kit, compare):
    kit.fleet_fails = True
    done = compare()
    assert done.exit_code == 2
    assert "no replicas today" in done.output
