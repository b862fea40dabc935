"""Drift: told where there is one, not told where it is chance, and never of a handful of scores."""

import numpy as np
import pytest

from balancer.reports.drift import Judged, drift


def test_no_change_is_told_as_one_in_at_most_two_of_a_hundred():
    rng = np.random.default_rng(21)
    judged = [drift(rng.random(800), rng.random(200)).judged for _ in range(300)]
    assert sum(each is not Judged.STABLE for each in judged) <= 6


@pytest.mark.parametrize(
    ("now", "judged"),
    [
        (lambda rng: rng.beta(2, 2, 1000), Judged.MOVED),
        (lambda rng: rng.beta(5, 1, 1000), Judged.CHANGED),
        (lambda rng: np.full(1000, 0.5), Judged.CHANGED),
    ],
)
def test_a_change_is_told(now, judged):
    rng = np.random.default_rng(22)
    found = drift(rng.random(4000), now(rng))
    assert found.judged is judged
    assert found.psi > 0.1
    assert 0 < found.ks <= 1


def test_medians_tell_which_way_it_went():
    rng = np.random.default_rng(23)
    found = drift(rng.random(1000), rng.beta(5, 1, 1000))
    assert found.median_before == pytest.approx(0.5, abs=0.05)
    assert found.median_now > 0.8


def test_scores_that_are_all_the_same_have_not_moved():
    found = drift(np.full(500, 0.4), np.full(500, 0.4))
    assert (found.judged, found.ks) == (Judged.STABLE, 0.0)


def test_a_handful_tells_nothing():
    found = drift(np.zeros(1000), np.ones(99))
    assert (found.judged, found.psi, found.now) == (Judged.UNKNOWN, None, 99)
