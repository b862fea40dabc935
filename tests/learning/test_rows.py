import numpy as np
import pytest

from balancer.learning.rows import BadData, Row, table
from tests.learning.labelled import logged

BATTLES = [
    Row("one", {"a": 1.0, "b": 0.0}),
    Row("two", {"a": 0.0, "c": 1.0}),
    Row("three", {"b": 0.5, "c": 0.5}),
]


def test_the_better_of_two_is_the_strong_one():
    made = table([Row("x", {"a": 1.0, "b": 0.0}), Row("y", {"a": 1.0, "b": 1.0})])
    assert made.models == ("b", "a")
    assert made.gain.tolist() == [1.0, 0.0]
    assert made.notes == ("a (1.000) is taken for the strong model, b (0.500) for the weak one",)


def test_sides_of_several_models_are_averaged_over_who_is_known():
    rows = [Row("x", {"a": 0.0, "b": 1.0, "c": 1.0}), Row("y", {"a": 0.0, "c": 0.5})]
    made = table(rows, weak=["a", "b"], strong=["c"])
    assert made.models == ("a+b", "c")
    assert made.quality.tolist() == [[0.5, 1.0], [0.0, 0.5]]


def test_more_than_two_models_keep_battles_of_any_two_of_them():
    made = table(BATTLES, models=["a", "b", "c"])
    assert len(made) == 3
    assert np.isnan(made.quality).sum() == 3


def test_battles_of_others_are_left_out_and_that_is_said():
    made = table(BATTLES, weak=["a"], strong=["b"])
    assert made.prompts == ("one",)
    assert made.notes == ("2 rows left out: they compare no two of a, b",)


def test_rows_of_one_prompt_and_model_each_are_one_row():
    made = table(
        [
            Row("x", {"a": 0.0}, "d"),
            Row("y", {"a": 1.0}, "d"),
            Row("x", {"b": 1.0}, "d"),
            Row("y", {"b": 1.0}, "d"),
        ]
    )
    assert made.prompts == ("x", "y")
    assert made.quality.tolist() == [[0.0, 1.0], [1.0, 1.0]]


def test_a_log_of_both_sides_is_taken_with_its_probabilities():
    made = table(logged(40, strong=0.25))
    assert len(made) == 40
    assert set(made.p.tolist()) == {0.25, 0.75}
    assert np.isnan(made.quality).sum() == 40


def test_a_log_of_one_side_cannot_tell_the_gain():
    rows = [row for row in logged(40) if "weak" in row.quality]
    with pytest.raises(BadData, match="a log of one side can't tell what the other would have gained"):
        table(rows)


def test_what_was_served_with_certainty_tells_no_difference():
    rows = [*logged(40), Row("x", {"weak": 1.0}, p=1.0, logged=True)]
    assert table(rows).notes == (
        "1 rows left out: they were served where they were with certainty (p = 1), which tells no difference",
    )
    with pytest.raises(BadData, match="can't tell"):
        table([Row(row.prompt, row.quality, p=1.0, logged=True) for row in logged(40)])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({}, "there are 3 models: name --weak and --strong, or --models, of a, b, c"),
        ({"weak": ["a"]}, "expected both --weak and --strong"),
        ({"weak": ["a"], "strong": ["a"]}, "a is named as weak and as strong"),
        ({"weak": ["a"], "strong": ["d"]}, "no row tells of d: the models are a, b, c"),
        ({"weak": ["a"], "strong": ["b"], "models": ["a", "b"]}, "expected either --models"),
    ],
)
def test_names_that_leave_no_pair(names, said):
    with pytest.raises(BadData, match=said):
        table(BATTLES, **names)


def test_nothing_to_compare():
    with pytest.raises(BadData, match="no row compares weak and strong"):
        table([Row("x", {"weak": 1.0})])
