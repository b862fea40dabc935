"""A comparison from its plan to its verdicts with arms whose truth is known: broken off, gone on with, and judged."""

import pytest

from benchmarks.compare.comparison import compared, document, predict, shown
from benchmarks.compare.knee import Level
from benchmarks.compare.plan import Plan
from benchmarks.goals import Status
from tests.benchmarks.compare.fakes import FakeKit, lane

OURS, ROBIN = "balancer/predicted_latency", "balancer/round_robin"
MACHINE = {"cpu": "x", "cores": 2, "kernel": "6", "python": "3", "balancer": "1", "commit": "abc"}
PLAN = Plan((OURS, ROBIN, "peer", "broken"), ("chat",), (0.5, 0.9), 2, 1)


class Comparison:
    def __init__(self, tmp_path):
        self.out = tmp_path / "out.journal"
        self.lanes = [lane(tmp_path)]
        self.said = []

    def run(self, kit, *, plan=PLAN, how="catalogue", resume=False):
        return compared(
            plan, kit, self.lanes, how=how, level=Level(0.4), out=self.out, resume=self.out if resume else None,
            fingerprint=MACHINE, tell=self.said.append,
        )  # fmt: skip


@pytest.fixture
def comparison(tmp_path):
    return Comparison(tmp_path)


def test_ours_is_judged_the_best_and_a_broken_peer_stands_with_its_reason(comparison):
    journal, whole = comparison.run(FakeKit())
    assert whole
    made = document(journal, journal.rows)
    assert (made["benchmark"], made["plan"]["arms"], made["knees"]) == ("compare", PLAN.arms, {"chat": 8.0})
    tables, judged, left_out = shown(made)
    assert [verdict.status for verdict in judged[:4]] == [Status.MET] * 4
    assert len(left_out) == 4
    assert all("broken" in line and "it ended before it listened" in line for line in left_out)
    assert len(tables) == 2
    assert comparison.said[0] == "16 runs, 0 more are there already; about 18 minutes"
    assert "broken, chat at 0.5, repeat 0: left out: it ended before it listened" in comparison.said


def test_what_is_broken_off_goes_on_and_measures_only_the_rest(comparison):
    journal, whole = comparison.run(FakeKit(interrupt_at=6))
    assert not whole
    kept = [row for row in journal.rows if row["trouble"] is None]
    assert len(kept) == 5
    assert len(shown(document(journal, journal.rows))[0]) >= 2
    kit = FakeKit()
    resumed, whole = comparison.run(kit, resume=True)
    assert whole
    assert kit.played == 12 - 5
    fresh = Comparison(comparison.out.parent / "fresh").run(FakeKit())[0]
    assert sorted(map(str, resumed.rows)) == sorted(map(str, fresh.rows))


def test_a_measured_knee_is_the_load_of_all_and_is_not_measured_again(comparison):
    plan = Plan((OURS,), ("chat",), (0.5,), 1, 1)
    journal, _ = comparison.run(FakeKit(knee=12.0), plan=plan, how="measure")
    knee = journal.head["knees"]["chat"]
    assert knee == pytest.approx(12.0, rel=0.1)
    assert journal.rows[0]["rate"] == pytest.approx(knee / 2)
    assert len(journal.head["knee_searches"]["chat"]["points"]) > 2
    kit = FakeKit()
    assert comparison.run(kit, plan=plan, how="measure", resume=True)[1]
    assert kit.played == 0


@pytest.mark.parametrize("how", ["0", "-1", "inf", "nan", "soon"])
def test_a_knee_that_is_no_rate_is_refused(comparison, how):
    with pytest.raises(ValueError, match="--knee: expected catalogue, measure or arrivals a second"):
        comparison.run(FakeKit(), how=how)


def test_a_rate_is_taken_as_told(comparison):
    journal, _ = comparison.run(FakeKit(), plan=Plan((OURS,), ("mine",), (0.5,), 1, 1), how="3.5")
    assert journal.rows[0]["rate"] == 1.75


def test_the_simulator_stands_beside_what_it_models(comparison):
    journal, _ = comparison.run(FakeKit(), plan=Plan((OURS, "peer"), ("chat",), (0.5,), 1, 1))
    rows = predict(journal.rows, FakeKit(), jobs=1)
    by_arm = {row["arm"]: row for row in rows}
    assert by_arm[OURS]["prediction"]["p90_ttft_ms"] > 0
    assert "prediction" not in by_arm["peer"]
    tables, _, _ = shown(document(journal, rows))
    (ours,) = (cells for cells in tables[0].rows if cells[0] == OURS)
    assert ours[3] is not None
    assert ours[4] is not None
