import numpy as np
import pytest

from balancer.core.tiering.score import ridge
from balancer.learning.evaluate import weights
from balancer.learning.metrics import curve
from balancer.learning.prompts import prompts
from balancer.learning.routers import ROUTERS
from balancer.learning.rows import BadData, table
from balancer.learning.vectors import fit_projection, projected
from tests.learning.labelled import labelled, logged

TAUGHT, HELD = labelled(400, seed=1), labelled(300, seed=2)
SEEN, UNSEEN = prompts(TAUGHT.prompts), prompts(HELD.prompts)


@pytest.mark.parametrize("kind", list(ROUTERS))
def test_each_kind_learns_what_is_in_the_words(kind):
    found = ROUTERS[kind].fit(SEEN, TAUGHT.quality).gains(UNSEEN)
    best = curve(HELD.gain, HELD.weak, HELD.strong).apgr
    assert curve(found, HELD.weak, HELD.strong).apgr > 0.5 + 0.8 * (best - 0.5)


@pytest.mark.parametrize("kind", list(ROUTERS))
def test_the_same_rows_and_seed_give_the_same_router(kind):
    first, second = (ROUTERS[kind].fit(SEEN, TAUGHT.quality, seed=3) for _ in range(2))
    assert all((first.arrays[name] == second.arrays[name]).all() for name in first.arrays)


@pytest.mark.parametrize("kind", list(ROUTERS))
def test_more_than_two_models_are_ranked_by_quality(kind):
    models = ("small", "middle", "large")
    taught, held = labelled(400, seed=1, models=models), labelled(200, seed=2, models=models)
    found = ROUTERS[kind].fit(prompts(taught.prompts), taught.quality).qualities(prompts(held.prompts))
    assert found.shape == (200, 3)
    hard = held.weak == 0
    assert (np.diff(found[hard].mean(axis=0)) > 0.1).all()


@pytest.mark.parametrize("kind", ["ridge", "logistic", "mf"])
@pytest.mark.parametrize("strong", [0.5, 0.1])
def test_a_log_teaches_with_inverse_probabilities(kind, strong):
    log = table(logged(1500, seed=3, strong=strong))
    fitted = ROUTERS[kind].fit(prompts(log.prompts), log.quality, weights(log))
    found = curve(fitted.gains(UNSEEN), HELD.weak, HELD.strong).apgr
    assert found > 0.6


@pytest.mark.parametrize("kind", ["knn", "sw"])
def test_kinds_that_need_comparisons_refuse_a_log(kind):
    log = table(logged(100))
    with pytest.raises(BadData, match=f"the router {kind} needs rows that compare models"):
        ROUTERS[kind].fit(prompts(log.prompts), log.quality, weights(log))


def test_conjugate_gradients_find_what_the_dual_solve_finds():
    """Two ways to the same ridge: that of `score.ridge` on the gain, and ours on each model's quality."""
    rng = np.random.default_rng(0)
    quality = np.stack([np.zeros(400), TAUGHT.gain + rng.normal(0, 0.1, 400)], axis=1)
    ours = ROUTERS["ridge"].fit(SEEN, quality).gains(UNSEEN)
    theirs = ridge.fit(SEEN.rows, quality[:, 1]).scores(UNSEEN.rows)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.99


def test_a_model_that_no_row_tells_of():
    quality = TAUGHT.quality.copy()
    quality[:, 0] = np.nan
    with pytest.raises(BadData, match="a model has no row to learn from"):
        ROUTERS["ridge"].fit(SEEN, quality)


def test_a_projection_keeps_alike_what_is_alike():
    arrays = fit_projection(SEEN.rows, 0)
    vectors = projected(UNSEEN.rows, arrays)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-3)
    alike = vectors @ vectors.T
    hard = HELD.weak == 0
    assert alike[np.ix_(hard, hard)].mean() > alike[np.ix_(hard, ~hard)].mean() + 0.05


def test_vectors_from_elsewhere_are_taken_instead():
    vectors = np.stack([TAUGHT.gain, 1 - TAUGHT.gain], axis=1).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    seen = prompts(TAUGHT.prompts, vectors=vectors)
    fitted = ROUTERS["knn"].fit(seen, TAUGHT.quality)
    assert "axes" not in fitted.arrays
    assert np.corrcoef(fitted.gains(seen), TAUGHT.gain)[0, 1] > 0.95
    with pytest.raises(BadData, match="reads vectors, which are not given"):
        fitted.gains(UNSEEN)
