import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.tiering.learned import HEADS, Seen, WrongArrays, standard
from balancer.core.tiering.score.features import BUCKETS, SHAPE, featurize

VECTOR = np.array([1.0, 0.0], np.float32)
FEATURES = featurize("prove the theorem")
NEAR = {
    "known": np.array([[1.0, 0], [0.9, 0.436], [0, 1]]),
    "quality": np.array([[0.0, 1], [0.5, 1], [1, 1]]),
    "count": np.array(2),
    "width": np.array(0.1),
}


def words(**more):
    arrays = {
        "words": np.zeros((BUCKETS, 2)),
        "shape": np.zeros((len(SHAPE), 2)),
        "bias": np.array([0.4, 0.6]),
        "prior": np.zeros(2),
        "centre": np.zeros(len(SHAPE)),
        "scale": np.ones(len(SHAPE)),
        "logistic": np.array(0),
    }
    return arrays | more


def test_words_add_up():
    weights = np.zeros((BUCKETS, 2))
    weights[FEATURES.ids[0]] = [-1, 1]
    found = HEADS["words"].read(words(words=weights)).qualities(Seen(FEATURES))
    value = FEATURES.values[0]
    assert found == pytest.approx([0.4 - value, 0.6 + value], abs=1e-6)


def test_words_may_be_logistic():
    found = HEADS["words"].read(words(logistic=np.array(1))).qualities(Seen(FEATURES))
    assert found == pytest.approx(1 / (1 + np.exp([-0.4, -0.6])), abs=1e-6)


def test_words_may_build_on_the_prior():
    head = HEADS["words"].read(words(prior=np.array([-0.2, 0.2])))
    assert head.asks_prior
    assert head.qualities(Seen(FEATURES, prior=1.0)) == pytest.approx([0.3, 0.7], abs=1e-6)


def boosted(**more):
    """One tree: more characters than 2, and then: more than 3 words."""
    columns = np.array([[SHAPE.index("characters"), SHAPE.index("words")]])
    leaves = np.arange(8.0).reshape(1, 4, 2)
    return words(columns=columns, cuts=np.log1p([[2.0, 3.0]]), leaves=leaves, **more)


@pytest.mark.parametrize(("prompt", "leaf"), [("a", 0), ("prove it", 2), ("the first of these theorems", 3)])
def test_a_tree_adds_what_its_leaf_says(prompt, leaf):
    found = HEADS["boosted"].read(boosted()).qualities(Seen(featurize(prompt)))
    assert found == pytest.approx([0.4 + 2 * leaf, 0.6 + 2 * leaf + 1], abs=1e-5)


def test_trees_of_which_there_are_none_add_nothing():
    none = {"columns": np.zeros((0, 4), int), "cuts": np.zeros((0, 4)), "leaves": np.zeros((0, 16, 2))}
    found = HEADS["boosted"].read(words(**none)).qualities(Seen(FEATURES))
    assert found == pytest.approx([0.4, 0.6], abs=1e-6)


def test_factors_are_an_inner_product():
    arrays = {
        "basis": np.array([[2.0], [0]]),
        "models": np.array([[-1.0, 1.0]]),
        "bias": np.array([0.0, 0.5]),
    }
    found = HEADS["factors"].read(arrays).qualities(Seen(None, VECTOR))
    assert found == pytest.approx(1 / (1 + np.exp([2, -2.5])), abs=1e-6)


def test_the_near_are_averaged_by_similarity():
    weight = np.exp((0.9 - 1.0) / 0.1)
    expected = 0.5 * weight / (1 + weight)
    assert HEADS["near"].read(NEAR).qualities(Seen(None, VECTOR)) == pytest.approx([expected, 1], abs=1e-3)


def test_fewer_known_than_asked_for():
    found = (
        HEADS["near"].read(NEAR | {"count": np.array(40)}).qualities(Seen(None, np.array([0, 1], np.float32)))
    )
    assert 0.9 < found[0] <= 1


def ratings(*wins):
    return {"known": np.array([[1.0, 0], [0, 1]]), "wins": np.array(wins), "base": np.array(1000.0)}


def test_two_models_are_rated_by_the_weighted_share_of_wins():
    won, lost = [[0, 1.0], [0, 0]], [[0, 0.0], [1, 0]]
    head = HEADS["ratings"].read(ratings(won, lost))
    assert head.qualities(Seen(None, VECTOR))[0] > 0.97
    assert head.qualities(Seen(None, VECTOR[::-1].copy()))[0] < 0.03


def test_strengths_are_those_that_won_such_matches():
    """Bradley-Terry strengths 1, 2 and 4, from the wins that they make likely."""
    strength = np.array([1.0, 2, 4])
    wins = strength[:, None] / (strength[:, None] + strength[None, :]) * (1 - np.eye(3))
    found = HEADS["ratings"].read(ratings(wins * 100, wins * 100)).qualities(Seen(None, VECTOR))
    expected = [(1 / 3 + 1 / 5) / 2, (2 / 3 + 2 / 6) / 2, (4 / 5 + 4 / 6) / 2]
    assert found == pytest.approx(expected, abs=0.01)


@given(st.lists(st.floats(0, 50), min_size=9, max_size=9))
def test_any_wins_are_rated(wins):
    matches = np.array(wins).reshape(3, 3) * (1 - np.eye(3))
    found = HEADS["ratings"].read(ratings(matches, matches)).qualities(Seen(None, VECTOR))
    assert np.isfinite(found).all()
    assert found.mean() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "arrays", "said"),
    [
        ("words", {"bias": np.zeros(2)}, "a router of kind words needs the array words"),
        ("words", words(words=np.zeros((4, 2))), r"words: expected the shape \(32768, 2\), given \(4, 2\)"),
        ("words", words(bias=np.array([np.nan, 0])), "bias: expected finite numbers"),
        ("words", words(bias=np.array(["a", "b"])), "bias: expected finite numbers"),
        ("boosted", words(), "a router of kind boosted needs the array columns"),
        (
            "boosted",
            boosted() | {"columns": np.array([[0, 9999]])},
            "columns: expected whole numbers from 0 to",
        ),
        (
            "boosted",
            boosted() | {"columns": np.array([[0.0, 1.0]])},
            "columns: expected whole numbers from 0 to",
        ),
        ("boosted", boosted() | {"leaves": np.zeros((1, 8, 2))}, r"leaves: expected the shape \(1, 4, 2\)"),
        ("boosted", boosted() | {"columns": np.zeros((1, 60), int)}, "cuts: expected the shape"),
        ("near", NEAR | {"quality": np.zeros((2, 2))}, "quality: expected the shape"),
        ("near", NEAR | {"width": np.array(0.0)}, "count and width"),
        (
            "ratings",
            {"known": np.zeros((1, 2)), "wins": np.zeros((2, 2, 2)), "base": np.array(10.0)},
            "known and wins",
        ),
        (
            "factors",
            {"basis": np.zeros((2, 3)), "models": np.zeros((1, 2)), "bias": np.zeros(2)},
            "basis: expected",
        ),
    ],
)
def test_arrays_that_are_no_router(kind, arrays, said):
    with pytest.raises(WrongArrays, match=said):
        HEADS[kind].read(arrays)


def test_a_shape_counts_up_to_a_limit():
    shape = np.full(len(SHAPE), 100.0, np.float32)
    found = standard(shape, np.zeros(len(SHAPE), np.float32), np.ones(len(SHAPE), np.float32))
    assert np.linalg.norm(found) == pytest.approx(3.0)
