import pytest

from benchmarks.goals import Goal, Status, judge

ALONE = Goal("lost", "lost", at_most=0)
BESIDE = Goal("cpu", "cpu/ours", at_most=0.7, reference="cpu/peer")


@pytest.mark.parametrize(
    ("goal", "figures", "status", "value"),
    [
        (ALONE, {"lost": 0.0}, Status.MET, 0.0),
        (ALONE, {"lost": 1.0}, Status.MISSED, 1.0),
        (ALONE, {}, Status.NOT_MEASURED, None),
        (BESIDE, {"cpu/ours": 70.0, "cpu/peer": 100.0}, Status.MET, 0.7),
        (BESIDE, {"cpu/ours": 71.0, "cpu/peer": 100.0}, Status.MISSED, 0.71),
        (BESIDE, {"cpu/ours": 1.0}, Status.NOT_MEASURED, None),
        (BESIDE, {"cpu/ours": 1.0, "cpu/peer": 0.0}, Status.NOT_MEASURED, None),
        (BESIDE, {"cpu/peer": 100.0}, Status.NOT_MEASURED, None),
    ],
)
def test_a_goal_is_met_only_by_what_was_measured(goal, figures, status, value):
    (verdict,) = judge([goal], figures)

    assert (verdict.status, verdict.value) == (status, value)


def test_wrong_answers_of_the_subject_miss_the_goal_however_good_the_figure():
    (verdict,) = judge([BESIDE], {"cpu/ours": 1.0, "cpu/peer": 100.0}, {"cpu/ours"})

    assert verdict.status is Status.MISSED
    assert verdict.why == "answers with errors"


def test_wrong_answers_of_the_reference_make_it_no_reference():
    (verdict,) = judge([BESIDE], {"cpu/ours": 1.0, "cpu/peer": 100.0}, {"cpu/peer"})

    assert verdict.status is Status.NOT_MEASURED
