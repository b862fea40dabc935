import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.core.tiering.score.features import BUCKETS, SHAPE, VERSION, featurize
from balancer.core.tiering.score.prior import COUNTS, INTERACTS, Prior, columns
from balancer.core.tiering.types import Text

WIDTH = COUNTS + len(INTERACTS)


def arrays(**changed):
    shape = np.zeros(WIDTH)
    shape[SHAPE.index("words")] = 1.0
    return {
        "version": np.array(VERSION),
        "words": np.zeros(BUCKETS, np.float16),
        "mean": np.zeros(len(SHAPE)),
        "scale": np.ones(len(SHAPE)),
        "shape": shape,
        "members": np.stack([shape, 1.5 * shape]),
        "apart": np.array(2.0),
        "quantiles": np.linspace(0.0, 4.0, 5),
    } | changed


def text(said, **more):
    return Text(said, len(said.encode()), **more)


@pytest.fixture
def prior():
    return Prior(arrays())


def test_value_is_the_share_of_the_mix_below(prior):
    raw = float(np.log1p(3))  # three words
    score = prior.score(text("one two three"))
    assert (score.known, score.why) == (True, "prior")
    assert score.value == pytest.approx(raw / 4)
    assert score.spread == pytest.approx(2.0 * 0.25 * raw / 4, rel=1e-5)


def test_beyond_the_mix_there_is_no_more():
    assert Prior(arrays(quantiles=np.linspace(-9, -8, 5))).score(text("one two")).value == 1.0
    assert Prior(arrays(quantiles=np.linspace(8, 9, 5))).score(text("one two")).value == 0.0


@pytest.mark.parametrize(
    ("said", "turns", "why"),
    [("", 1, "empty"), (" \n", 1, "empty"), ("ok, go on", 2, "follow-up"), ("😀", 1, "unreadable")],
)
def test_what_cannot_be_told_is_not_known(prior, said, turns, why):
    score = prior.score(text(said, turns=turns))
    assert (score.known, score.why) == (False, why)


def test_a_short_turn_is_read_with_what_came_before(prior):
    alone = prior.score(text("And what about Spain then?"))
    among = prior.score(
        text("And what about Spain then?", before="Tell me of Portugal, its rivers and towns.", turns=2)
    )
    assert among.value > alone.value


def test_another_version_is_refused():
    with pytest.raises(ValueError, match=f"expected {VERSION}"):
        Prior(arrays(version=np.array(VERSION + 1)))


def test_other_tables_are_refused():
    with pytest.raises(ValueError, match="expected"):
        Prior(arrays(words=np.zeros(7)))


def test_another_script_has_no_english_habits():
    """Neither words nor columns that are habits of Latin script count, whatever they are."""
    words = np.random.default_rng(0).normal(size=BUCKETS)
    shape = np.zeros(WIDTH)
    shape[SHAPE.index("stop")] = shape[SHAPE.index("high")] = 100.0
    prior = Prior(arrays(words=words, shape=shape, quantiles=np.linspace(-1.0, 1.0, 5)))
    assert prior.score(text("докажите теорему")).value == pytest.approx(0.5)
    assert prior.score(text("prove the theorem")).value != pytest.approx(0.5)


def test_columns_of_many_are_those_of_each():
    shapes = np.stack([featurize(said).shape for said in ("one", "two 2 + 2", "вот", "x" * 300)])
    mean, scale = shapes.mean(0), shapes.std(0) + 1
    together = columns(shapes, mean, scale)
    assert together.shape == (4, WIDTH)
    assert together[2] == pytest.approx(columns(shapes[2], mean, scale))


@settings(max_examples=300)
@given(st.text(max_size=300), st.integers(0, 3), st.text(max_size=100))
def test_any_text_has_a_score(said, turns, before):
    score = Prior(arrays()).score(
        Text(said, len(said.encode("utf-8", "surrogatepass")), before=before, turns=turns)
    )
    assert 0.0 <= score.value <= 1.0
    assert 0.0 <= score.spread <= 0.5


@pytest.mark.parametrize(
    "said", ["Prove $x^2 = 3$ for who she is\n- a\n- b", "докажите 2 + 2", "words " * 199 + "end"]
)
def test_one_is_scored_as_many_are(said):
    """What is fitted on `columns` is what serves."""
    rng = np.random.default_rng(5)
    given = arrays(
        mean=rng.random(len(SHAPE)), scale=1 + rng.random(len(SHAPE)), shape=rng.normal(size=WIDTH),
        quantiles=np.linspace(-60.0, 60.0, 5),
    )  # fmt: skip
    raw = float(columns(featurize(said).shape, given["mean"], given["scale"]) @ given["shape"])
    assert Prior(given).score(text(said)).value == pytest.approx((raw + 60) / 120, abs=1e-5)
