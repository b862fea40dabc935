"""The loop over cells: caches reset before each, arms fresh, failures in rows, interruptions without one; in lanes too."""

import asyncio
import os

import pytest

from benchmarks.compare.knee import Level
from benchmarks.compare.lanes import lanes_on, run_lanes
from benchmarks.compare.plan import Plan, dealt
from benchmarks.compare.run import InterruptedRunError, find_knee, run_cells
from benchmarks.processes import NotServingError
from tests.benchmarks.compare.fakes import REQUESTS, WINDOW, FakeKit, lane

OURS = "balancer/predicted_latency"
PLAN = Plan((OURS, "peer"), ("chat",), (0.5, 1.0), 2, 1)


def cells(plan=PLAN, lanes=1):
    return dealt(plan.blocks(dict.fromkeys(plan.workloads, 10.0)), lanes)


def run(kit, tmp_path, plan=PLAN):
    rows = []
    asyncio.run(run_cells(cells(plan)[0], kit, lane(tmp_path), rows.append))
    return rows


def test_every_cell_has_a_fresh_arm_and_empty_caches_over_one_fleet(tmp_path):
    kit = FakeKit()
    rows = run(kit, tmp_path)
    assert [row["arm"] for row in rows] == [cell.arm for cell in cells()[0]]
    assert (kit.happened[0], kit.happened[-1]) == ("fleet", "fleet ended")
    for at, cell in enumerate(cells()[0]):
        started, reset, begun, played, stopped = kit.happened[1 + 5 * at : 6 + 5 * at]
        assert (started, reset, begun, stopped) == (f"start {cell.arm}", "reset", "begun", f"stop {cell.arm}")
        assert played == f"play {cell.arm} chat {cell.rate:g} {cell.seed}"


def test_a_row_has_its_cell_its_script_its_figures_and_its_samples(tmp_path):
    row = run(FakeKit(), tmp_path)[0]
    assert (row["workload"], row["load"], row["repeat"], row["rate"], row["trouble"]) == (
        "chat",
        0.5,
        0,
        5.0,
        None,
    )
    assert row["p90_ttft_ms"] == 1000.0
    assert len(row["digest"]) == 16
    assert (row["samples"]["start_s"], row["samples"]["end_s"]) == WINDOW
    assert (row["samples"]["asked"], row["samples"]["unanswered"], len(row["samples"]["due"])) == (
        REQUESTS,
        0,
        REQUESTS,
    )


def test_arms_of_a_block_play_one_script_and_repeats_others(tmp_path):
    rows = run(FakeKit(), tmp_path)
    digests = {}
    for row in rows:
        digests.setdefault((row["load"], row["repeat"]), set()).add(row["digest"])
    assert all(len(found) == 1 for found in digests.values())
    assert len(set.union(*digests.values())) == 4


def test_an_arm_that_does_not_start_is_a_row_with_the_reason(tmp_path):
    rows = run(FakeKit(), tmp_path, Plan((OURS, "broken"), ("chat",), (0.5,), 2, 1))
    assert len(rows) == 4
    assert {row["trouble"] for row in rows if row["arm"] == "broken"} == {"it ended before it listened"}
    assert all(row["trouble"] is None for row in rows if row["arm"] == OURS)


def test_an_interrupted_cell_is_not_kept_and_all_is_ended(tmp_path):
    kit = FakeKit(interrupt_at=3)
    rows = []
    with pytest.raises(InterruptedRunError):
        asyncio.run(run_cells(cells()[0], kit, lane(tmp_path), rows.append))
    assert len(rows) == 2


def test_the_knee_is_found_by_runs_of_the_arm_each_with_its_own_script(tmp_path):
    kit = FakeKit(knee=11.0)
    found = asyncio.run(find_knee("chat", OURS, 8.0, Level(0.4), kit, lane(tmp_path)))
    assert found.rate == pytest.approx(11.0 * 2 ** (1 / 20), rel=0.07)
    plays = [each for each in kit.happened if each.startswith("play")]
    assert len(set(plays)) == len(plays) == len(found.points) == kit.happened.count("reset")


@pytest.mark.parametrize("lanes", [1, 2])
def test_lanes_measure_every_cell_on_cores_of_their_own(tmp_path, lanes):
    cores = os.sched_getaffinity(0)
    if len(cores) < lanes:
        pytest.skip(f"{lanes} cores are needed: lanes share none")
    rows = []
    places = [lane(tmp_path / str(number)) for number in range(lanes)]
    assert run_lanes(cells(lanes=lanes), FakeKit(), places, rows.append)
    assert sorted((row["load"], row["repeat"], row["arm"]) for row in rows) == sorted(
        (cell.load, cell.repeat, cell.arm) for cell in cells()[0]
    )
    assert os.sched_getaffinity(0) == cores


@pytest.mark.parametrize(("lanes", "by_signal"), [(1, False), (2, False), (2, True)])
def test_an_interruption_keeps_what_was_written(tmp_path, lanes, by_signal):
    rows = []
    places = [lane(tmp_path) for _ in range(lanes)]
    kit = FakeKit(interrupt_at=2, by_signal=by_signal)
    assert not run_lanes(cells(lanes=lanes), kit, places, rows.append)
    assert rows
    assert len(rows) < len(cells()[0])


@pytest.mark.parametrize("lanes", [1, 2])
def test_replicas_that_fail_end_the_comparison_with_the_reason(tmp_path, lanes):
    with pytest.raises(NotServingError, match="no replicas today"):
        run_lanes(cells(lanes=lanes), FakeKit(fleet_fails=True), [lane(tmp_path)] * lanes, lambda _: None)


def test_cores_are_shared_out_in_equal_parts(tmp_path):
    lanes = lanes_on(frozenset(range(9)), 4, tmp_path)
    owned = [each.cores.subject | each.cores.others for each in lanes]
    assert owned == [{0, 1}, {2, 3}, {4, 5}, {6, 7}]
    assert all(each.cores.subject.isdisjoint(each.cores.others) and each.folder.is_dir() for each in lanes)
    assert all(each.client == each.replicas for each in lanes)
    (alone,) = lanes_on(frozenset({3}), 1, tmp_path / "alone")
    assert alone.cores.shared
    (wide,) = lanes_on(frozenset(range(4)), 1, tmp_path / "wide")
    assert (wide.cores.subject, wide.client, wide.replicas) == ({0}, {1}, {2, 3})
    with pytest.raises(ValueError, match="--lanes: expected at most 1"):
        lanes_on(frozenset(range(3)), 2, tmp_path / "few")
