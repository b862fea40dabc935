import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.learning.calibrate import ALL_STRONG, LEAST_ROWS, Step, promise, steps, threshold_for


@given(st.lists(st.floats(0, 1, width=16), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_no_more_than_the_share_are_above_the_threshold(scores, share):
    values = np.array(scores)
    threshold = threshold_for(values, share)
    assert (values > threshold).mean() <= share + 1e-9
    assert (values >= threshold).mean() >= min(share, 1 / len(values)) - 1 / len(values) - 1e-9


def population(seed):
    """What a router meets: its score says something of the gain, and the weak model has 80 % of the strong one's quality."""
    rng = np.random.default_rng(seed)
    difficulty = rng.random(200_000)
    weak = (rng.random(200_000) > 0.4 * difficulty).astype(float)
    strong = (rng.random(200_000) > 0.12 * difficulty).astype(float)
    return np.clip(difficulty + rng.normal(0, 0.3, 200_000), 0, 1), weak, strong


@pytest.mark.parametrize("rows", [100, 300, 1000])
@pytest.mark.parametrize("floor", [0.9, 0.95])
def test_a_floor_is_violated_in_at_most_five_of_a_hundred_calibrations(rows, floor):
    scores, weak, strong = population(0)
    violated = 0
    for k in range(400):
        index = np.random.default_rng(k).integers(0, len(scores), rows)
        found = promise(steps(scores[index], weak[index], strong[index]), floor, rows)
        sent = scores >= found.step.threshold
        violated += np.where(sent, strong, weak).mean() < floor * strong.mean()
    assert violated <= 0.05 * 400


def test_a_floor_does_not_send_all_to_the_strong_model_without_need():
    scores, weak, strong = population(0)
    index = np.random.default_rng(0).integers(0, len(scores), 3000)
    found = promise(steps(scores[index], weak[index], strong[index]), 0.95, 3000)
    assert found.proven
    assert found.step.share < 0.6
    assert found.step.low >= 0.95


def test_few_rows_prove_nothing():
    scores, weak, strong = (part[: LEAST_ROWS - 1] for part in population(0))
    assert steps(scores, weak, strong) == [ALL_STRONG]
    assert not promise([ALL_STRONG], 0.5, LEAST_ROWS - 1).proven


def test_the_first_share_that_fails_ends_the_search():
    found = [ALL_STRONG, Step(0.9, 0.1, 0.99, 0.97), Step(0.8, 0.2, 0.97, 0.94), Step(0.7, 0.3, 0.99, 0.96)]
    assert promise(found, 0.95, 100).step.share == 0.9
    assert promise(found, 0.98, 100) == (ALL_STRONG, 100, False)


def test_steps_go_from_all_strong_to_all_weak():
    scores, weak, strong = (part[:500] for part in population(1))
    found = steps(scores, weak, strong)
    assert (found[0].share, found[-1].share) == (1.0, 0.0)
    assert all(
        a.share >= b.share and a.threshold <= b.threshold for a, b in zip(found, found[1:], strict=False)
    )
    assert found[-1].kept == pytest.approx(weak.mean() / strong.mean())
    assert all(step.low < step.kept for step in found[1:])
