import json

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.decide.figures import figures, tables, verdicts
from benchmarks.decide.measure import Costs, Measured
from benchmarks.goals import Status

POLICY = "cache_aware"


def costs(us, reference_us=10):
    return Costs([us * 500] * 100, [us * 300] * 100, [us * 200] * 100, [reference_us * 1000] * 100)


def result(measured, prompts=1_000_000):
    return {"figures": figures(measured, prompts), "plan": {"policy": POLICY, "prompts": prompts}}


def verdict_of(made, figure):
    (found,) = [verdict for verdict in verdicts(made) if verdict.goal.figure == figure]
    return found


def test_a_decision_is_the_sum_of_its_parts():
    found = figures(Measured(fleets={8: costs(100)}), 1)

    assert found["p50_us/8"] == found["p99_us/8"] == 100
    assert (found["understand_us/8"], found["decide_us/8"], found["dispatch_us/8"]) == (50, 30, 20)
    assert found["ratio/8"] == 10


def test_a_percentile_is_of_whole_decisions_not_of_their_parts():
    alternating = Costs([1000, 9000] * 50, [9000, 1000] * 50, [0] * 100, [1000] * 100)

    assert figures(Measured(fleets={8: alternating}), 1)["p99_us/8"] == 10


def test_goals_are_judged_by_size_of_fleet():
    made = result(Measured(fleets={8: costs(100), 64: costs(250)}))

    assert verdict_of(made, "p50_us/8").status is Status.MET
    assert verdict_of(made, "p50_us/64").status is Status.MISSED
    assert verdict_of(made, "p50_us/512").status is Status.NOT_MEASURED


def test_after_a_million_prompts_the_machine_may_be_slower_but_not_the_decision():
    fleets = {8: costs(100)}
    slower_machine = result(Measured(fleets, filled=costs(200, 20), growth_bytes=100_000_000))
    slower = result(Measured(fleets, filled=costs(200), growth_bytes=300_000_000))

    assert verdict_of(slower_machine, "p99_ratio/million").status is Status.MET
    assert verdict_of(slower_machine, "growth_mb/million").status is Status.MET
    assert verdict_of(slower, "p99_ratio/million").status is Status.MISSED
    assert verdict_of(slower, "growth_mb/million").status is Status.MISSED


def test_fewer_prompts_do_not_answer_for_a_million():
    made = result(Measured({8: costs(100)}, filled=costs(100), growth_bytes=1), prompts=20_000)

    assert verdict_of(made, "p99_ratio/million").status is Status.NOT_MEASURED
    assert verdict_of(made, "growth_mb/million").status is Status.NOT_MEASURED
    assert made["figures"]["p50_us/filled"] == 100


def run(*arguments):
    return CliRunner().invoke(app, ["decide", *arguments], env={"COLUMNS": "150"})


def test_a_run_from_the_command_line(tmp_path):
    path = tmp_path / "result.json"

    done = run("--policy", POLICY, "--calls", "5", "--prompts", "50", "--json", str(path))

    assert done.exit_code == 0, done.output
    kept = json.loads(path.read_text())
    got = kept["figures"]
    for fleet in ("8", "64", "512", "filled"):
        parts = [got[f"{part}/{fleet}"] for part in ("understand_us", "decide_us", "dispatch_us")]
        assert 0 < max(parts) <= got[f"p99_us/{fleet}"]
    assert kept["fingerprint"]["python"]
    (table,) = tables(kept)
    assert [row[0] for row in table.rows] == ["8", "64", "512", "8, after 50 prompts"]
    assert all(cell is not None for row in table.rows for cell in row)
    assert run("--render", str(path)).output.strip() in done.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--policy", "best"), "--policy: expected one of"),
        (("--render", "/no/such.json"), "expected a result of"),
    ],
)
def test_a_bad_option_is_told_in_words(arguments, told):
    done = run(*arguments)

    assert done.exit_code == 2
    assert told in " ".join(done.output.replace("│", "").split())


def test_check_fails_on_a_missed_goal_and_only_then(tmp_path):
    path = tmp_path / "result.json"
    for us, code in ((100, 0), (130, 1)):
        kept = result(Measured(fleets={8: costs(us)})) | {"benchmark": "decide", "fingerprint": {}}
        path.write_text(json.dumps(kept))

        assert run("--render", str(path), "--check").exit_code == code
        assert run("--render", str(path)).exit_code == 0
