import pytest

from benchmarks.goals import Status
from benchmarks.journal.command import figures_of, tables, verdicts
from benchmarks.journal.measure import Plan, measure
from benchmarks.journal.traffic import KINDS, Conversations


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    figures = {}
    for kind in KINDS:
        measured = measure(
            Plan(kind, "predicted_latency", 1000), tmp_path_factory.mktemp("j"), lambda _: None
        )
        figures |= {f"{name}/{kind}": value for name, value in figures_of(measured, 1000).items()}
    return {"figures": figures, "plan": {"policy": "predicted_latency"}}


def test_every_decision_is_made_again(result):
    for kind in KINDS:
        figures = result["figures"]
        assert figures[f"replayed/{kind}"] == figures[f"decisions/{kind}"] >= 1000
        assert figures[f"different/{kind}"] == figures[f"lost_events/{kind}"] == 0


def test_what_prompts_share_is_written_once(result):
    figures = result["figures"]
    assert figures["bytes/conversations"] < 300 < figures["bytes/distinct"]


def test_a_goal_is_met_or_missed_and_tables_tell_why(result):
    found = {verdict.goal.figure: verdict.status for verdict in verdicts(result)}
    assert found["bytes/conversations"] is Status.MET
    assert found["bytes/distinct"] is Status.MISSED
    assert found["different/conversations"] is Status.MET
    (table,) = tables(result)
    assert [row[0] for row in table.rows] == list(KINDS)
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_prompts_grow_and_distinct_ones_share_nothing():
    talk, alone = (Conversations(kind, 1) for kind in KINDS)
    seen = set()
    for _ in range(300):
        view, answer, of = talk.next()
        talk.answered(of, answer)
        assert 31 <= len(view.block_keys) <= 170
        seen.update(view.block_keys)
    assert len(seen) < 300 * 60
    keys = [key for _ in range(50) for key in alone.next()[0].block_keys]
    assert len(keys) == len(set(keys))
