"""The joint choice against the tier first: what is asked, one run, and how two arms are held against each other."""

import json
from math import sqrt
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.goals import Status
from benchmarks.joint.cells import LOADS, QUICK_S, RIVALS, SHARES, Cell, cells, run_cell
from benchmarks.joint.command import markdown
from benchmarks.joint.figures import matches, tables
from benchmarks.joint.prompts import WORKLOADS, spread, traffic
from benchmarks.report import between_markers, read_json

ROOT = Path(__file__).parents[3] / "benchmarks"


def row(arm, share, quality, usd, ttft, seed=1, load=0.8):
    figures = dict.fromkeys(("ttft_p50_s", "e2e_p50_s", "e2e_p90_s"), 1.0)
    told = {"workload": "chat", "rival": "turns", "load": load, "arm": arm, "share": share, "seed": seed}
    measured = {
        "quality": quality,
        "retained": 0.5,
        "strong_share": share,
        "usd_per_1000": usd,
        "ttft_p90_s": ttft,
    }
    return told | measured | figures


def matched(*ours, curve=((0.3, 0.70, 1.0, 1.0), (0.36, 0.80, 2.0, 4.0))):
    (found,) = matches([row("joint", 0.3, *ours), *(row("turns", *each) for each in curve)])
    return found


def test_the_other_arm_is_read_off_at_our_quality():
    found = matched(0.75, 1.5, 1.0)
    assert found.usd == pytest.approx(1.0)
    assert found.ttft == pytest.approx(0.5)  # between the logarithms
    assert found.share == pytest.approx(0.33)


@pytest.mark.parametrize(
    ("usd", "ttft", "status"),
    [
        (1.5, 1.4, Status.MET),  # 0.7 of the time
        (1.2, 2.0, Status.MET),  # 0.8 of the money
        (1.45, 1.9, Status.MISSED),  # neither
        (1.2, 2.4, Status.MISSED),  # cheaper, and slower than it may be
        (1.8, 1.0, Status.MISSED),
    ],
)
def test_verdicts(usd, ttft, status):
    assert matched(0.75, usd, ttft).status is status


@pytest.mark.parametrize("quality", [0.69, 0.81])
def test_a_quality_that_the_other_arm_does_not_come_to_is_not_measured(quality):
    assert matched(quality, 1.0, 1.0).status is Status.NOT_MEASURED


def test_seeds_are_averaged_first():
    rows = [row("joint", 0.3, quality, 1.5, 1.0, seed) for seed, quality in ((1, 0.74), (2, 0.76))]
    curve = [row("turns", *each) for each in ((0.3, 0.70, 1.0, 1.0), (0.36, 0.80, 2.0, 4.0))]
    (found,) = matches([*rows, *curve])
    assert found.quality == pytest.approx(0.75)


def test_the_same_traffic_for_every_arm():
    one, other = (traffic(WORKLOADS["documents"], 4.0, 1, 60, 20) for _ in range(2))
    assert one == other
    assert one != traffic(WORKLOADS["documents"], 4.0, 2, 60, 20)


def test_scores_are_percentiles_that_know_something_and_their_spread_is_what_they_do_not_know():
    _, asked = traffic(WORKLOADS["chat"], 20.0, 1, 100, 20)
    known = [turn for turns in asked.values() for turn in turns if turn.score is not None]
    assert len(known) > 5000
    assert sum(turn.score for turn in known) / len(known) == pytest.approx(0.5, abs=0.02)
    hard = [turn.gain for turn in known if turn.score > 0.7]
    assert sum(hard) / sum(turn.gain for turn in known) == pytest.approx(0.49, abs=0.03)
    assert spread(0.999) < 0.05 < spread() < sqrt(1 / 12)


def test_bursts_move_hard_conversations_and_lose_none():
    plain, asked = traffic(WORKLOADS["chat"], 8.0, 1, 80, 20)
    bursts, also = traffic(WORKLOADS["bursts"], 8.0, 1, 80, 20)
    assert len(bursts.sessions) > 0.7 * len(plain.sessions)
    dense = sum(each.arrival_s % 40 < 10 for each in bursts.sessions) / len(bursts.sessions)
    assert dense > 0.4


def test_cells_are_all_the_others_shares_at_all_loads():
    found = cells({"chat": (3, 4)})
    for rival in RIVALS:
        asked = {(cell.load, cell.share, cell.seed) for cell in found if cell.arm == rival}
        assert asked == {(load, share, seed) for load in LOADS for share in SHARES for seed in (3, 4)}


@pytest.fixture(scope="module")
def ran():
    """A minute of traffic by each arm."""
    arms = ("joint", "turns", "conversations", "all_large", "all_small", "joint_no_band", "joint_not_sticky")
    return {arm: run_cell(Cell("chat", "turns", 0.3, arm, 0.3, 1, 60.0)) for arm in arms}


def test_every_request_is_answered_and_counted(ran):
    counts = {row["requests"] for row in ran.values()}
    assert min(counts) > 300
    assert all(row["lost"] == row["unfinished"] == 0 for row in ran.values())


def test_the_bounds_are_what_they_say(ran):
    assert (ran["all_large"]["strong_share"], ran["all_large"]["retained"]) == (1.0, 1.0)
    assert (ran["all_small"]["strong_share"], ran["all_small"]["retained"]) == (0.0, 0.0)
    assert ran["all_small"]["usd_per_1000"] < ran["joint"]["usd_per_1000"] < ran["all_large"]["usd_per_1000"]


def test_the_joint_choice_holds_the_share_and_costs_less_than_turn_by_turn(ran):
    joint, turns = ran["joint"], ran["turns"]
    assert joint["strong_share"] == pytest.approx(0.3, abs=0.05)
    assert turns["strong_share"] == pytest.approx(0.3, abs=0.05)
    assert joint["usd_per_1000"] < 0.96 * turns["usd_per_1000"]
    assert joint["ttft_p90_s"] < turns["ttft_p90_s"]


def test_the_command_shows_what_it_kept(tmp_path, monkeypatch):
    kept = tmp_path / "joint.json"
    rows = [
        row("joint", 0.3, 0.75, 1.2, 1.0),
        *(row("turns", *each) for each in ((0.3, 0.7, 1, 1), (0.36, 0.8, 2, 4))),
    ]
    kept.write_text(json.dumps({"benchmark": "joint", "fingerprint": {"cores": 2}, "plan": {}, "rows": rows}))
    shown = CliRunner().invoke(app, ["joint", "--render", str(kept), "--check"], env={"COLUMNS": "150"})
    assert shown.exit_code == 0, shown.output
    assert "met" in shown.output
    assert "-20 %" in shown.output
    assert "joint" in tables(rows)[0].markdown()
    assert QUICK_S < 100


def test_the_readme_shows_what_was_kept():
    kept = read_json(ROOT / "results" / "joint.json", "joint")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert between_markers(readme, "joint", markdown(kept)) == readme


def test_documents_are_answered_too():
    figures = run_cell(Cell("documents", "turns", 0.2, "joint", 0.3, 1, 30.0))
    assert figures["requests"] > 30
    assert figures["unfinished"] == figures["lost"] == 0
