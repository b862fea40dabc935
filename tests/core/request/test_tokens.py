"""What usage tells of bytes per token is learned, and nonsense is not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.request.tokens import (
    BYTES_PER_TOKEN,
    MAX_BYTES_PER_TOKEN,
    MAX_MODELS,
    MIN_BYTES_PER_TOKEN,
    TokenEstimator,
    estimate_tokens,
)
from balancer.core.types import RequestView, RouteKind


def taught(ratio, *, count=20, overhead=0, low=200, high=8000, seed=1):
    rng = random.Random(seed)
    estimator = TokenEstimator()
    for _ in range(count):
        size = rng.randint(low, high)
        estimator.observe("m", size, round(size / ratio) + overhead)
    return estimator


def test_a_model_of_which_nothing_is_known():
    estimator = TokenEstimator()
    assert estimator.estimate("m", 4096) == estimate_tokens(4096) == 4096 // BYTES_PER_TOKEN
    assert [estimator.estimate(None, size) for size in (0, 1, 4, 5)] == [0, 1, 1, 2]


@pytest.mark.parametrize("ratio", [0.75, 1.5, 3.0, 4.4, 8.0, 14.0])
def test_twenty_answers_are_enough(ratio):
    assert taught(ratio).estimate("m", 10_000) == pytest.approx(10_000 / ratio, rel=0.05)


@pytest.mark.parametrize("ratio", [1.5, 4.4])
def test_a_constant_of_the_template_does_little(ratio):
    estimator = taught(ratio, overhead=40)
    assert estimator.estimate("m", 10_000) == pytest.approx(10_000 / ratio, rel=0.1)


def test_a_model_that_is_served_with_another_tokenizer_is_learned_anew():
    estimator = taught(4.0, count=500)
    for _ in range(150):
        estimator.observe("m", 3000, 1500)
    assert estimator.bytes_per_token("m") == pytest.approx(2.0, rel=0.15)


def test_one_odd_answer_among_many_does_little():
    estimator = taught(4.0, count=100, low=3000, high=4000)
    estimator.observe("m", 10**6, 10**6)
    assert estimator.bytes_per_token("m") == pytest.approx(4.0, rel=0.3)


NUMBER = st.integers(-(2**63), 2**63) | st.integers(-10, 10_000)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", None]), NUMBER, NUMBER), max_size=30), st.integers(0, 10**9)
)
def test_whatever_is_told_the_estimate_stays_within_bounds(told, size):
    estimator = TokenEstimator()
    for model, prompt_bytes, prompt_tokens in told:
        estimator.observe(model, prompt_bytes, prompt_tokens)
    for model in ("a", "b", None):
        assert MIN_BYTES_PER_TOKEN <= estimator.bytes_per_token(model) <= MAX_BYTES_PER_TOKEN
        tokens = estimator.estimate(model, size)
        assert size / MAX_BYTES_PER_TOKEN - 1 <= tokens <= size / MIN_BYTES_PER_TOKEN + 1
        assert bool(tokens) == bool(size)
    assert repr(estimator)


@pytest.mark.parametrize(
    ("prompt_bytes", "prompt_tokens"), [(0, 10), (100, 0), (100, -5), (-5, 100), (10, 500), (500, 10)]
)
def test_what_cannot_be_is_not_learned(prompt_bytes, prompt_tokens):
    estimator = TokenEstimator()
    estimator.observe("m", prompt_bytes, prompt_tokens)
    assert estimator.bytes_per_token("m") == BYTES_PER_TOKEN


def test_no_client_makes_it_grow():
    estimator = TokenEstimator()
    count = MAX_MODELS + 1
    for number in range(count):
        estimator.observe(f"m{number}", 1000, 500)
        estimator.observe("used", 1000, 500)
        estimator.estimate(f"n{number}", 1000)
    kept = [number for number in range(count) if estimator.bytes_per_token(f"m{number}") != BYTES_PER_TOKEN]
    assert kept == list(range(count - MAX_MODELS + 1, count))
    assert estimator.bytes_per_token("used") < 2.1


@pytest.mark.parametrize(
    ("request_", "learned"),
    [
        (RequestView(RouteKind.CHAT, "m", prompt_bytes=1000), True),
        (RequestView(RouteKind.COMPLETIONS, "m", prompt_bytes=1000, tokens_exact=True), False),
        (RequestView(RouteKind.RESPONSES, "m", prompt_bytes=1000, previous_response="r"), False),
        (RequestView(RouteKind.SCORING, "m", prompt_bytes=1000), False),
        (RequestView(RouteKind.CHAT, "m"), False),
    ],
)
def test_only_whole_prompts_of_text_teach(request_, learned):
    estimator = TokenEstimator()
    estimator.learn(request_, 500)
    assert (estimator.bytes_per_token("m") < BYTES_PER_TOKEN) is learned
