import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from balancer.learning.metrics import advantage, curve, measure, oracle, resamples
from tests.learning.labelled import labelled

unit = st.floats(0, 1, width=16)


@st.composite
def judged(draw):
    """Scores, and qualities of which the strong model's are higher on the whole."""
    n = draw(st.integers(2, 30))
    score = draw(arrays(np.float64, n, elements=st.floats(-5, 5, width=16)))
    weak, strong = (draw(arrays(np.float64, n, elements=unit)) for _ in range(2))
    assume((strong - weak).sum() > 0.05)
    return score, weak, strong


def test_by_hand():
    found = curve(np.array([4.0, 3, 2, 1]), np.array([0.0, 0, 1, 1]), np.array([1.0, 1, 1, 0]))
    assert found.share.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.quality.tolist() == [0.5, 0.75, 1.0, 1.0, 0.75]
    assert found.apgr == pytest.approx((0 + 1 + 2 + 2 + 1 - 0.5) / 4)
    assert found.cpt(0.5) == pytest.approx(0.125, abs=0.026)
    assert found.share_for(1.0) == 0.25
    assert found.share_for(2.0) == 1.0
    assert found.share_for(0.5) == 0.0


@given(judged())
def test_equal_scores_are_chance(case):
    _, weak, strong = case
    found = curve(np.zeros(len(weak)), weak, strong)
    assert found.apgr == pytest.approx(0.5)
    assert [found.cpt(part) for part in (0.2, 0.5, 0.8)] == pytest.approx([0.2, 0.5, 0.8])


@given(judged())
def test_nobody_is_above_the_oracle(case):
    score, weak, strong = case
    assert curve(score, weak, strong).apgr <= oracle(weak, strong).apgr + 1e-9


@given(judged())
def test_the_reverse_order_is_the_mirror_image(case):
    score, weak, strong = case
    assert curve(score, weak, strong).apgr + curve(-score, weak, strong).apgr == pytest.approx(1)


@given(judged(), st.randoms(use_true_random=False))
def test_only_the_order_of_scores_counts_and_that_of_rows_does_not(case, random):
    score, weak, strong = case
    found = curve(score, weak, strong)
    assert curve(np.exp(score) * 3 + 1, weak, strong).apgr == pytest.approx(found.apgr)
    order = list(range(len(score)))
    random.shuffle(order)
    assert curve(score[order], weak[order], strong[order]).apgr == pytest.approx(found.apgr)
    assert (np.diff(found.share) > 0).all()


@given(judged(), st.floats(0.1, 1), st.floats(0, 0.5))
def test_scale_and_offset_of_quality_do_not_count(case, scale, offset):
    score, weak, strong = case
    moved = curve(score, weak * scale + offset, strong * scale + offset)
    assert moved.apgr == pytest.approx(curve(score, weak, strong).apgr)


@given(judged())
def test_a_weight_is_as_many_rows(case):
    score, weak, strong = case
    weight = np.arange(len(score)) % 3 + 1.0
    index = np.repeat(np.arange(len(score)), weight.astype(int))
    assume((weight * (strong - weak)).sum() > 0.05)
    weighted, repeated = curve(score, weak, strong, weight), curve(score[index], weak[index], strong[index])
    assert weighted.apgr == pytest.approx(repeated.apgr)
    assert weighted.cpt(0.5) == pytest.approx(repeated.cpt(0.5))


def test_random_scores_are_about_chance_and_the_interval_says_so():
    rows = labelled(1000)
    score = np.random.default_rng(0).random(1000)
    found = measure(score, rows.weak, rows.strong, resamples(1000, 200, 0))
    assert found.apgr.low < 0.5 < found.apgr.high
    assert found.apgr.high - found.apgr.low < 0.15


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """Of a score with a known APGR on a population, in 60 samples."""
    population = labelled(20_000, seed=5)
    noisy = population.gain + np.random.default_rng(1).normal(0, 1, 20_000)
    truth = curve(noisy, population.weak, population.strong).apgr
    covered = 0
    for k in range(60):
        index = np.random.default_rng(k).integers(0, 20_000, 300)
        found = measure(
            noisy[index], population.weak[index], population.strong[index], resamples(300, 100, k)
        ).apgr
        covered += found.low <= truth <= found.high
    assert covered >= 52


def test_an_advantage_is_paired():
    rows = labelled(400)
    drawn = resamples(400, 200, 0)
    noise = np.random.default_rng(0).random(400)
    better = advantage(rows.gain + noise * 0.1, noise, rows.weak, rows.strong, drawn)
    assert better.low > 0.1
    same = advantage(noise, noise, rows.weak, rows.strong, drawn)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_rows_of_a_group_come_and_go_together():
    drawn = resamples(4, 50, 0, np.array([0, 0, 1, 2]))
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert (drawn[:, 1] != drawn[:, 2]).any()


def test_nothing_to_gain_is_no_number():
    assert np.isnan(curve(np.array([1.0, 0]), np.array([1.0, 1]), np.array([0.0, 1])).apgr)
