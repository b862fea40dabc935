import numpy as np
import pytest

from balancer.learning.prompts import prompts
from balancer.learning.routers import BOOSTED_ROWS, ROUTERS
from balancer.learning.trees import TREES, fit_trees, no_trees, said
from tests.learning.labelled import labelled

ONES = np.ones(3000)


def drawn(count=3000, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)


def either(shape):
    """Gains where one of two things is there, and not where both or none are: no sum of the columns tells that."""
    return ((shape[:, 1] > 0.3) ^ (shape[:, 4] > -0.5)).astype(float)


def test_what_holds_where_two_things_meet_is_learned():
    taught, held = drawn(), drawn(seed=1)
    noisy = either(taught) + np.random.default_rng(2).normal(0, 0.3, len(taught))
    trees = fit_trees(taught, np.stack([-noisy, noisy], axis=1), ONES, seed=0)
    assert trees["columns"].shape == (TREES, 4)
    found = said(trees, held)
    assert np.corrcoef(found[:, 1], either(held))[0, 1] > 0.9
    assert found[:, 0] == pytest.approx(-found[:, 1], abs=1e-6)


def test_noise_teaches_little():
    noise = np.random.default_rng(3).normal(size=(3000, 1))
    found = said(fit_trees(drawn(), noise, ONES, seed=0), drawn(seed=1))
    assert found.std() < 0.25


def test_a_row_counts_as_often_as_it_stands_for():
    shape = drawn()
    opposite = np.where(np.arange(3000) % 2, 1.0, -1.0) * np.where(shape[:, 0] > 0, 1.0, -1.0)
    weight = np.where(np.arange(3000) % 2, 9.0, 1.0)
    found = said(fit_trees(shape, opposite[:, None], weight, seed=0), shape)[:, 0]
    assert np.corrcoef(found, shape[:, 0] > 0)[0, 1] > 0.9


def test_a_quality_that_is_not_known_teaches_nothing():
    shape = drawn()
    quality = np.stack([either(shape), either(shape)], axis=1)
    quality[np.arange(3000) % 3 > 0, 1] = np.nan
    found = said(fit_trees(shape, quality, ONES, seed=0), drawn(seed=1))
    assert np.isfinite(found).all()
    assert np.corrcoef(found[:, 1], either(drawn(seed=1)))[0, 1] > 0.9


def test_no_trees_say_nothing():
    assert said(no_trees(2), drawn(5)).tolist() == np.zeros((5, 2)).tolist()


def test_few_rows_grow_no_trees_and_are_a_ridge():
    few = labelled(200)
    seen = prompts(few.prompts)
    boosted, ridge = (ROUTERS[kind].fit(seen, few.quality) for kind in ("boosted", "ridge"))
    assert len(boosted.arrays["columns"]) == 0
    assert boosted.gains(seen) == pytest.approx(ridge.gains(seen), abs=1e-6)


def test_many_rows_grow_trees_that_serve_as_they_were_fitted():
    many = labelled(BOOSTED_ROWS, seed=5)
    seen = prompts(many.prompts)
    fitted = ROUTERS["boosted"].fit(seen, many.quality)
    assert len(fitted.arrays["columns"]) == TREES
    assert fitted.qualities(seen).mean(axis=0) == pytest.approx(many.quality.mean(axis=0), abs=0.01)
    without = {**fitted.arrays, **no_trees(2)}
    plain = type(fitted)("boosted", type(fitted.head)(without), without)
    added = fitted.qualities(seen) - plain.qualities(seen)
    assert added == pytest.approx(said(fitted.arrays, seen.rows.shape), abs=1e-5)
