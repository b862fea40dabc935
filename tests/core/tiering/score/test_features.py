# ruff: noqa: RUF001 - letters of many languages

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.tiering.score.features import BUCKETS, END_BYTES, SHAPE, ends, featurize

GOLDEN = "Prove that 17 × 23 < 400, и докажите это; 証明せよ!"

GOLDEN_IDS = [
    193,
    1073,
    1584,
    1847,
    2498,
    6821,
    7363,
    7523,
    8714,
    9226,
    9456,
    11549,
    11679,
    12783,
    14978,
    17969,
    22833,
    23780,
    24065,
    27609,
    27800,
    31734,
]
GOLDEN_TWICE = 6821
GOLDEN_SHAPE = 36.96779


def column(text, name):
    return float(featurize(text).shape[SHAPE.index(name)])


def test_golden_vector():
    """Weights files hold these hashes: if this fails, VERSION must rise, and the weights be trained again."""
    features = featurize(GOLDEN)
    assert features.ids.tolist() == GOLDEN_IDS
    assert features.values == pytest.approx(
        [(2 if i == GOLDEN_TWICE else 1) ** 0.5 / 23**0.5 for i in GOLDEN_IDS]
    )
    assert float(features.shape.sum()) == pytest.approx(GOLDEN_SHAPE, abs=1e-4)


@given(st.text(max_size=5000))
def test_any_text_has_features(text):
    features = featurize(text)
    assert np.all(np.diff(features.ids) > 0)
    assert len(features.ids) == 0 or 0 <= features.ids[0] <= features.ids[-1] < BUCKETS
    assert float(features.values @ features.values) == pytest.approx(1.0, abs=1e-4) or not len(features.ids)
    assert features.shape.shape == (len(SHAPE),)
    assert np.isfinite(features.shape).all()


@given(st.text(alphabet="ab 1é한国", max_size=60), st.integers(0, 40))
def test_words_are_the_same_wherever_they_stand(text, spaces):
    assert featurize(" " * spaces + text).ids.tolist() == featurize(text).ids.tolist()


def test_no_more_than_both_ends_are_read():
    text = "head " * 1000 + "x" * 100_000 + " tail" * 1000
    other = "head " * 1000 + "y" * 100_000 + " tail" * 1000
    assert featurize(text).ids.tolist() == featurize(other).ids.tolist()
    assert len(ends("é" * 10_000)) == 2 * END_BYTES


def test_the_whole_length_is_told_where_only_ends_are_there():
    index = SHAPE.index("characters")
    assert featurize("abc", 50_000).shape[index] == pytest.approx(np.log1p(50_000))


def test_numbers_of_as_many_digits_are_one_word():
    assert featurize("add 17 and 23").ids.tolist() == featurize("add 99 and 42").ids.tolist()
    assert featurize("add 17").ids.tolist() != featurize("add 171").ids.tolist()


def test_case_does_not_matter_to_words():
    assert featurize("ДОКАЖИТЕ Ça").ids.tolist() == featurize("докажите ça").ids.tolist()


def test_scripts_without_spaces_are_read_in_pairs():
    assert column("素数が無限に", "words") == pytest.approx(np.log1p(5))
    assert column("소수 무한", "words") == pytest.approx(np.log1p(2))
    assert column("ที่นี่", "words") > 0


@pytest.mark.parametrize(
    ("text", "concept"),
    [
        ("Prove it", "explain"),
        ("докажите", "explain"),
        ("请证明这个", "explain"),
        ("증명하시오", "explain"),
        ("اشرح هذا", "explain"),
        ("schreibe", "write"),
        ("step by step", "show that"),
        ("行列の固有値", "maths"),
    ],
)
def test_a_concept_has_words_in_many_languages(text, concept):
    assert column(text, concept) > 0


def test_one_of_han_says_as_much_as_three_letters():
    assert column("国" * 100, "characters") == pytest.approx(np.log1p(300))
    assert column("г" * 100, "characters") == pytest.approx(np.log1p(100))


def test_shape_counts():
    text = "A. one\nB. two\n- three 12 and 7?\n```x```"
    assert column(text, "options") == pytest.approx(np.log1p(1))  # the first line follows no line
    assert column(text, "bullets") == pytest.approx(np.log1p(1))
    assert column(text, "numbers") == pytest.approx(np.log1p(2))
    assert column(text, "fences") == pytest.approx(np.log1p(2))
    assert column(text, "?, density") == pytest.approx((1 / len(text)) ** 0.5)
