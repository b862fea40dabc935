import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.tiering.learned import Learned, WrongArrays, view
from balancer.core.tiering.score.features import BUCKETS, SHAPE, featurize
from balancer.core.tiering.types import Classifier, Score, Text

HARD = featurize("theorem").ids[0]


class Sure(Classifier):
    name = "sure"

    def score(self, text):
        return Score(1.0)


def arrays(models=2, **more):
    """Gains 0.2 more for each `theorem`; of four training rows' gains, 0.2 is the median."""
    words = np.zeros((BUCKETS, models))
    words[HARD, -1] = 1.0
    return {
        "words": words,
        "shape": np.zeros((len(SHAPE), models)),
        "bias": np.linspace(0.4, 0.6, models),
        "prior": np.zeros(models),
        "centre": np.zeros(len(SHAPE)),
        "scale": np.ones(len(SHAPE)),
        "logistic": np.array(0),
        "gains": np.array([0.0, 0.2, 0.4, 1.2]),
        "seen": np.packbits(np.arange(BUCKETS) == HARD),
        "spreads": np.array([[0.0, 1.0], [0.3, 0.1]]),
    } | more


def text(last, **more):
    return Text(last, len(last.encode()), **more)


def test_a_value_is_the_share_of_rows_that_gain_less():
    learned = Learned.read("words", ["weak", "strong"], arrays())
    assert learned.score(text("something else entirely")).value == pytest.approx(1.5 / 4)
    assert learned.score(text("theorem")).value == pytest.approx(3.5 / 4)
    assert learned.score(text("theorem")).qualities == ()


def test_what_was_seen_makes_sure():
    learned = Learned.read("words", ["weak", "strong"], arrays(), least_seen=0.2)
    known, unknown = learned.score(text("theorem")), learned.score(text("nothing of this was seen before"))
    assert (known.known, known.spread) == (True, pytest.approx(0.1))
    assert (unknown.known, unknown.why, unknown.spread) == (
        False,
        "words unlike those it was trained on",
        pytest.approx(0.3),
    )


@pytest.mark.parametrize(
    ("last", "turns", "why"), [("", 1, "empty"), ("yes, go on", 2, "follow-up"), ("🙂🙂", 1, "unreadable")]
)
def test_what_is_no_question_is_not_known(last, turns, why):
    found = Learned.read("words", ["weak", "strong"], arrays()).score(text(last, turns=turns))
    assert (found.known, found.why) == (False, why)


def test_a_short_turn_is_read_with_what_came_before():
    assert HARD in view(text("and then what", before="the theorem")).features.ids
    assert HARD not in view(text("and then what")).features.ids


def test_what_is_said_to_steer_is_not_read():
    plain = view(text("explain the theorem of Gauss and its use in physics"))
    steered = view(text("explain the theorem of Gauss and its use in physics. This is a simple question."))
    assert (plain.features.ids == steered.features.ids).all()


def test_of_more_models_each_has_a_quality():
    found = Learned.read("words", ["a", "b", "c"], arrays(3)).score(text("theorem"))
    assert dict(found.qualities) == pytest.approx({"a": 0.4, "b": 0.5, "c": 1.0})
    assert 0 < found.spread < 1


def test_a_router_on_the_prior_needs_it():
    on_prior = arrays(prior=np.array([-0.2, 0.2]))
    with pytest.raises(WrongArrays, match="builds on the bundled prior"):
        Learned.read("words", ["weak", "strong"], on_prior)
    found = Learned.read("words", ["weak", "strong"], on_prior, prior=Sure()).score(text("anything at all"))
    assert found.value == pytest.approx(2.5 / 4)  # 0.2 for being sure, on top of 0.2


def test_a_router_on_vectors_from_elsewhere_is_asked_with_them():
    near = arrays() | {
        "known": np.array([[1.0, 0], [0, 1]]),
        "quality": np.array([[0.0, 1], [1, 1]]),
        "count": np.array(1),
        "width": np.array(0.1),
    }
    learned = Learned.read("near", ["weak", "strong"], near)
    assert learned.needs_vector
    assert not learned.score(text("theorem")).known
    low = learned.of_vector(text("theorem"), np.array([0, 9.0], np.float32))
    high = learned.of_vector(text("theorem"), np.array([9.0, 0], np.float32))
    assert low.value < high.value
    assert not learned.of_vector(text(""), np.array([9.0, 0], np.float32)).known


@given(st.text(max_size=300), st.integers(1, 3))
def test_any_text_has_a_score(last, turns):
    learned = Learned.read("words", ["weak", "strong"], arrays())
    found = learned.score(Text(last, len(last.encode("utf-8", "surrogatepass")), turns=turns))
    assert 0 <= found.value <= 1
    assert 0 <= found.spread <= 1


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("bert", {}, "kind: expected one of words, boosted, factors, near, ratings, given bert"),
        ("words", {"gains": np.zeros(0)}, "gains: expected one or more"),
        ("words", {"spreads": np.zeros(3)}, "spreads: expected two rows"),
        ("words", {"idf": np.zeros(3), "axes": np.zeros((3, 2))}, "idf and axes"),
    ],
)
def test_arrays_that_are_no_classifier(kind, more, said):
    with pytest.raises(WrongArrays, match=said):
        Learned.read(kind, ["weak", "strong"], arrays(**more))


def test_missing_arrays():
    some = {name: value for name, value in arrays().items() if name != "seen"}
    with pytest.raises(WrongArrays, match="a router needs the array seen"):
        Learned.read("words", ["weak", "strong"], some)
