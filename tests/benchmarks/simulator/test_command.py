"""`python -m benchmarks simulate`, as it is called."""

import json

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app

SMALL = ("--suite", "others", "--workloads", "all_identical", "--seeds", "1")


def simulate(*arguments: str):
    return CliRunner().invoke(app, ["simulate", *arguments], env={"COLUMNS": "150"})


def test_a_run_prints_a_table_and_writes_what_can_be_shown_again(tmp_path):
    kept = tmp_path / "result.json"
    ran = simulate(*SMALL, "--policies", "round_robin,cache_aware", "--jobs", "2", "--json", str(kept))
    assert ran.exit_code == 0, ran.output
    assert "all_identical 0.9" in ran.output
    result = json.loads(kept.read_text())
    assert [r["arm"] for r in result["rows"]] == ["round_robin", "cache_aware"]
    assert all(r["hit_rate"] > 0.9 for r in result["rows"])
    shown = simulate("--render", str(kept))
    assert shown.output.strip() in ran.output


def test_a_seed_gives_the_same_figures_again_whatever_the_number_of_processes(tmp_path):
    rows = []
    for jobs in ("1", "2"):
        kept = tmp_path / f"{jobs}.json"
        simulate(*SMALL, "--policies", "power_of_two,predicted_latency", "--jobs", jobs, "--json", str(kept))
        rows.append(json.loads(kept.read_text())["rows"])
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--suite", "slow"), "--suite: expected some of quick"),
        (("--policies", "best"), "--policies: expected some of random"),
        (("--workloads", "none"), "--workloads: expected some of"),
        (("--seeds", "one"), "--seeds: expected numbers"),
        (("--loads", "7"), "expected some that suite quick has"),
        (("--render", "/no/such/file"), "expected a result of"),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(arguments, says):
    ran = simulate(*arguments)
    assert ran.exit_code == 2
    assert says in " ".join(ran.output.replace("│", " ").split())
