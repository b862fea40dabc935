"""Goals of the simulator, judged on rows that are made by hand."""

import json
from itertools import product

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.fingerprint import fingerprint
from benchmarks.goals import Status
from benchmarks.simulator.goals import FAULTS, FROM_S, RIVALS, SUBJECT, Line, by_suite, judge
from benchmarks.simulator.suites import SUITES
from benchmarks.simulator.verdicts import best_others_table, goals_table, losing_table
from benchmarks.workloads import WORKLOADS

FIGURES = {"ttft_p90_s": 1.0, "e2e_p90_s": 10.0, "output_tokens_per_s": 100.0}
EVERYONE = (SUBJECT, *RIVALS, "lmetric_np", "oracle2")


def row(place, arm, seed, **figures):
    workload, load, variant, stage = place
    named = {"workload": workload, "load": load, "variant": variant, "stage": stage, "arm": arm, "seed": seed}
    return {**named, **FIGURES, **figures}


def places(suite: str, stages=("",)):
    return [
        (workload.name, load, variant, stage)
        for (workload, load, variant), stage in product(SUITES[suite].cells, stages)
    ]


def result(suite: str, rows):
    return {
        "benchmark": "simulate",
        "fingerprint": fingerprint(),
        "plan": {"suite": suite},
        "rows": list(rows),
    }


def everything(figures=lambda place, arm, seed: {}, *, seeds=(1, 2), arms=EVERYONE):
    """The suite `policies`, run whole."""
    return result(
        "policies",
        (
            row(place, arm, seed, **figures(place, arm, seed))
            for place, seed, arm in product(places("policies"), seeds, arms)
        ),
    )


def lines(*results) -> dict[str, Line]:
    found = judge(by_suite(results))
    assert len({line.title for line in found}) == len(found)
    return {line.title: line for line in found}


TO_07, TO_09, FROM_10 = (f"TTFT P90 / best other, load {band}" for band in ("to 0.7", "to 0.9", "from 1.0"))


def test_the_best_other_is_sought_by_cell_and_pooled_by_geometric_mean_within_a_band():
    def figures(place, arm, seed):
        if arm == SUBJECT:
            return {"ttft_p90_s": 2.0 if place[0] == "agents" else 0.5}
        return {"ttft_p90_s": {"preble_e2": 1.0, "lmetric_np": 0.25, "oracle2": 0.1}.get(arm, 3.0)}

    found = lines(everything(figures))
    line = found[TO_07]
    losing = {"agents 0.5", "agents 0.7"}
    assert {cell.name for cell in line.cells} == {
        f"{w} {load:g}" for w, load, *_ in places("policies") if load <= 0.7
    }
    assert {cell.rival for cell in line.cells} == {"preble_e2"}
    assert {cell.name for cell in line.losing} == losing
    assert line.value == pytest.approx(2.0 ** (2 / 9) * 0.5 ** (7 / 9))
    assert line.status is Status.MET
    with_ablations = found["the same with ablations, load to 0.7"]
    assert {cell.rival for cell in with_ablations.cells} == {"lmetric_np"}
    assert with_ablations.status is Status.MISSED


@pytest.mark.parametrize(("title", "limit"), [(TO_07, 1.02), (TO_09, 1.0), (FROM_10, 0.9)])
def test_each_band_has_its_own_limit(title, limit):
    def at(p90):
        return everything(lambda place, arm, seed: {"ttft_p90_s": p90} if arm == SUBJECT else {})

    assert lines(at(limit - 0.001))[title].status is Status.MET
    assert lines(at(limit + 0.001))[title].status is Status.MISSED


def test_seeds_are_averaged_before_they_are_compared():
    def figures(place, arm, seed):
        return {"ttft_p90_s": (0.1, 1.5)[seed - 1] if arm == SUBJECT else (1.2, 0.4)[seed - 1]}

    assert lines(everything(figures))[TO_09].value == pytest.approx(1.0)


def test_the_worst_workload_may_be_further_off_the_bound_than_the_others():
    def figures(place, arm, seed):
        worst = {("agents", 0.5): 1.2, ("agents", 0.7): 1.5, ("agents", 0.85): 1.8}
        return (
            {"ttft_p90_s": worst.get(place[:2], 1.2 if place[0] == "chat" else 1.0)} if arm == SUBJECT else {}
        )

    found = lines(everything(figures))
    worst = found["TTFT P90 / oracle2, load to 0.9, worst workload, agents"]
    assert worst.value == pytest.approx((1.2 * 1.5 * 1.8) ** (1 / 3))
    assert worst.status is Status.MET
    assert [cell.name for cell in worst.losing] == ["agents 0.85"]
    others = found["TTFT P90 / oracle2, load to 0.9, all others, chat"]
    assert (others.value, others.status) == (pytest.approx(1.2), Status.MET)


def test_throughput_has_to_be_at_least_the_best_others():
    def figures(place, arm, seed):
        return {"output_tokens_per_s": {SUBJECT: 99.0, "session": 100.0}.get(arm, 50.0)}

    line = lines(everything(figures))["output tokens/s / best other, load from 1.0"]
    assert (line.value, line.status) == (pytest.approx(0.99), Status.MISSED)
    assert {cell.rival for cell in line.losing} == {"session"}


@pytest.mark.parametrize(
    ("measured", "gap"),
    [
        (everything(seeds=(1,)), "1 of 2 seeds"),
        (everything(arms=[arm for arm in EVERYONE if arm != "preble_e2"]), "without preble_e2"),
        (everything(arms=[arm for arm in EVERYONE if arm != SUBJECT]), "0 of 9 cells"),
        (result("policies", [r for r in everything()["rows"] if r["workload"] != "chat"]), "8 of 9 cells"),
    ],
)
def test_what_was_run_in_part_is_not_measured_and_says_what_is_wanting(measured, gap):
    line = lines(measured)[TO_07]
    assert line.status is Status.NOT_MEASURED
    assert gap in line.gaps


def ladder(p90s, stages=(46, 60)):
    return result(
        "ladder",
        (
            row(("ladder", 1.0, "", f"{qps} qps"), arm, 1, ttft_p90_s=p90)
            for qps in (3, 10, 15, 20, 22, 25, 30, 35, 40, 43, 46, 49, 52, 55, 57, 60)
            for arm, p90 in p90s(qps).items()
        ),
    )


def test_the_ladder_counts_the_floor_in_every_figure_and_takes_the_worst_stage():
    def p90s(qps):
        if qps < 46:
            return {SUBJECT: 0.05, "llm_d_111": 0.05, "random": 0.05}
        return {
            SUBJECT: 0.11 if qps == 49 else 0.05,
            "llm_d_111": 16.85,
            "random": 44.75 if qps == 60 else 60.0,
        }

    stage, approximate, random = lines(ladder(p90s)).values()
    assert (stage.value, stage.status, [cell.name for cell in stage.losing]) == (
        pytest.approx(0.36), Status.MISSED, ["49 qps"],
    )  # fmt: skip
    assert (approximate.value, approximate.status) == (pytest.approx(17.1 / 0.36), Status.MISSED)
    assert (random.value, random.status) == (pytest.approx(150.0), Status.MET)


def faults(figures=lambda variant, stage: {}):
    return result(
        "faults",
        (
            row(place, SUBJECT, seed, **figures(*place[2:]))
            for place, seed in product(places("faults", ("", "after", "later")), (1, 2))
        ),
    )


def test_a_fault_is_measured_against_the_run_without_it_and_a_join_against_all_there_from_the_start():
    def figures(variant, stage):
        p90 = {("stale", ""): 1.4, ("join", "after"): 1.3, ("joined", "after"): 1.0, ("join", ""): 9.0}
        return {"ttft_p90_s": p90.get((variant, stage), 1.0)}

    found = lines(faults(figures))
    missed = [line.title for line in found.values() if line.status is Status.MISSED]
    assert missed == ["TTFT P90 / without: metrics every 5 s, 5 s old"]
    join = found["join 6 to 8, first 30 s: TTFT P90 / 8 from the start"]
    assert (join.value, join.status) == (1.3, Status.MET)


def test_output_lost_to_a_fault_is_a_collapse_but_what_was_not_offered_is_not_lost():
    tokens = {"half_slow": 75.0, "index_double": 89.0}
    found = lines(faults(lambda variant, stage: {"output_tokens_per_s": tokens.get(variant, 100.0)}))
    line = found["output tokens/s / without: the least of these"]
    assert (line.value, line.status) == (pytest.approx(0.89), Status.MISSED)
    assert {cell.name.split()[-1] for cell in line.losing} == {"index_double"}


def test_what_a_fault_is_measured_in_begins_late_enough_that_speeds_are_learned():
    for workload, load, variant in SUITES["faults"].cells:
        if variant in FAULTS:
            assert WORKLOADS[workload.name].traffic(load, 8, 1).start_s >= FROM_S


def test_a_cell_that_is_in_two_results_counts_once_and_as_in_the_later():
    first, second = (
        everything(),
        everything(lambda place, arm, seed: {"ttft_p90_s": 0.5} if arm == SUBJECT else {}),
    )
    assert lines(first, second)[TO_07].value == pytest.approx(0.5)
    part = result("policies", [r for r in everything()["rows"] if r["workload"] == "chat"])
    rest = result("policies", [r for r in everything()["rows"] if r["workload"] != "chat"])
    assert lines(part, rest)[TO_07].status is Status.MET


def test_tables_name_every_goal_the_losing_cells_once_and_the_best_other_of_each_cell():
    measured = by_suite([everything(lambda place, arm, seed: {"ttft_p90_s": 2.0} if arm == SUBJECT else {})])
    found = judge(measured, whole=True)
    verdicts = [line[3] for line in goals_table(found).rows]
    assert {verdict.partition(":")[0] for verdict in verdicts} == {*Status}
    losing = [(line[1], line[2]) for line in losing_table(found).rows if "best other" in line[0]]
    assert losing == [(f"{w} {load:g}", "2.000 x") for low, high in ((0, 0.7), (0.7, 0.9), (0.9, 9))
                      for w, load, *_ in places("policies") if low < load <= high]  # fmt: skip
    assert [line[0] for line in best_others_table(measured["policies"]).rows][::3] == [
        f"{workload} {load:g}" for workload, load, *_ in places("policies")
    ]


def test_the_command_judges_kept_results_and_exits_1_where_a_goal_is_not_met(tmp_path):
    for name, kept in (("p", everything()), ("f", faults())):
        (tmp_path / f"{name}.json").write_text(json.dumps(kept))
    files = [str(tmp_path / "p.json"), str(tmp_path / "f.json")]
    ran = CliRunner().invoke(app, ["simulate", "--report", *files], env={"COLUMNS": "200"})
    assert ran.exit_code == 0, ran.output
    judged = {line.split("│")[1].strip(): line.split("│")[4].strip() for line in ran.output.splitlines()
              if line.count("│") == 5}  # fmt: skip
    assert judged[TO_07] == "met"
    assert judged[FROM_10] == "missed"
    assert judged["ladder, worst stage: TTFT P90 + 0.25 s"] == "not measured: 0 of 16 cells"
    assert CliRunner().invoke(app, ["simulate", "--report", "--check", *files]).exit_code == 1


@pytest.mark.parametrize("arguments", [["--report"], ["some.json"]])
def test_result_files_go_with_report_and_report_with_result_files(arguments):
    ran = CliRunner().invoke(app, ["simulate", *arguments], env={"COLUMNS": "200"})
    assert ran.exit_code == 2
    assert "--report: expected result files with it" in ran.output
