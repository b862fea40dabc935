import numpy as np
import pytest

from balancer.core.tiering.score.features import BUCKETS, featurize
from balancer.core.tiering.score.ridge import STRENGTHS, Rows, fit, kernel, stack


def texts(count, seed=0):
    rng = np.random.default_rng(seed)
    words = ["prove", "list", "why", "sum", "name", "sort", "tell", "draw", "count", "plan"]
    return [" ".join(rng.choice(words, 6)) + "?" for _ in range(count)]


def learned_from(prompts):
    """Prompts with "prove" gain."""
    return np.array([float("prove" in prompt) for prompt in prompts])


def rows(prompts) -> Rows:
    return stack([featurize(prompt) for prompt in prompts])


def test_rows_are_a_matrix():
    table = rows(["one two", "", "two two"])
    weights = np.random.default_rng(0).normal(size=BUCKETS)
    by_hand = [float(weights[row.ids] @ row.values) for row in map(table.row, range(3))]
    assert table.words(weights) == pytest.approx(by_hand, abs=1e-6)
    assert table.take([2]).words(weights) == pytest.approx(by_hand[2:], abs=1e-6)
    by_row = np.array([1.0, 2.0, 3.0])
    assert float(table.spread(by_row) @ weights) == pytest.approx(float(by_row @ by_hand), rel=1e-5)
    assert len(stack([])) == 0


def test_kernel_is_the_inner_product_of_words():
    table = rows(["one two three", "two three", "four"])
    found = kernel(table, table)
    assert np.diag(found) == pytest.approx([1, 1, 1], abs=1e-6)
    assert found[0, 1] > 0.3
    assert found == pytest.approx(found.T)


def test_what_gains_is_learned():
    train, test = texts(300), texts(100, seed=1)
    model = fit(rows(train), learned_from(train))
    scores = model.scores(rows(test))
    gains = learned_from(test) > 0
    assert scores[gains].min() > scores[~gains].max()
    assert scores[0] == pytest.approx(model.score(featurize(test[0])), abs=1e-5)


def test_strength_is_that_of_the_least_error_of_leaving_one_out():
    """By hand: fit without each row, for each strength."""
    prompts = texts(25)
    gain = learned_from(prompts) + np.random.default_rng(2).normal(scale=0.3, size=25)
    table = rows(prompts)
    chosen = fit(table, gain, blend=0.1)
    z = np.clip((table.shape - table.shape.mean(0)) / (table.shape.std(0) + 1e-6), -4, 4)
    both = kernel(table, table) + 0.1 * z @ z.T / z.shape[1]
    y = gain - gain.mean()

    def error(strength):
        total = 0.0
        for i in range(25):
            kept = np.arange(25) != i
            dual = np.linalg.solve(both[np.ix_(kept, kept)] + strength * np.eye(24), y[kept])
            total += (y[i] - both[i, kept] @ dual) ** 2
        return total

    errors = {strength: error(strength) for strength in (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)}
    assert chosen.strength == min(errors, key=errors.get)


def test_a_weight_counts_rows():
    prompts = texts(30)
    gain = np.random.default_rng(3).normal(size=30)
    twice = fit(rows([*prompts, prompts[0]]), np.append(gain, gain[0]), strength=4.0, blend=0.1)
    weighted = fit(
        rows(prompts), gain, weights=np.array([2.0] + [1.0] * 29), strength=4.0 * 30 / 31, blend=0.1
    )
    assert twice.bias == pytest.approx(weighted.bias)


def test_a_prior_is_an_offset():
    prompts = texts(200)
    prior = np.random.default_rng(4).random(200)
    model = fit(rows(prompts), prior * 0.5, prior=prior)
    assert model.prior > 0.1
    assert model.score(featurize("a"), 0.9) > model.score(featurize("a"), 0.1)
    nothing = fit(rows(prompts), np.zeros(200), prior=prior)
    assert nothing.prior == pytest.approx(20 * 0.05 / 220)


@pytest.mark.parametrize("gain", [[], [1.0]])
def test_as_many_labels_as_rows(gain):
    with pytest.raises(ValueError, match="expected as many"):
        fit(rows(["a", "b"]), gain)


def test_domains_are_left_out_whole_to_choose():
    """By hand: fit without each fold, for each strength."""
    rng = np.random.default_rng(3)
    names = ["apple", "brick", "cloud", "drum", "eagle"]
    prompts = [f"{name} {name} {name} {text}" for k, name in enumerate(names) for text in texts(8, seed=k)]
    domains = np.repeat(np.arange(5), 8)
    gain = rng.normal(size=5)[domains] + 0.1 * rng.normal(size=40)
    table = rows(prompts)
    chosen = fit(table, gain, blend=0.1, domains=domains)
    assert chosen.strength > fit(table, gain, blend=0.1).strength
    z = np.clip((table.shape - table.shape.mean(0)) / (table.shape.std(0) + 1e-6), -4, 4)
    both = kernel(table, table) + 0.1 * z @ z.T / z.shape[1]
    y = gain - gain.mean()

    def error(strength):
        total = 0.0
        for k in range(5):
            here = domains == k
            taught = both[np.ix_(~here, ~here)] + strength * np.eye((~here).sum())
            total += ((y[here] - both[np.ix_(here, ~here)] @ np.linalg.solve(taught, y[~here])) ** 2).sum()
        return total

    assert chosen.strength == min(STRENGTHS, key=error)
