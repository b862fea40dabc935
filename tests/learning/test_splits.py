import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.learning.rows import BadData
from balancer.learning.splits import domains, families, folds, print_of

TEMPLATE = (
    "Please read the following multiple-choice question and give the letter of the one answer that is right. "
)
PROMPTS = [f"question {i} about {word}" for i in range(20) for word in ("apples", "pears", "plums")]


def test_near_duplicates_are_a_family():
    long = "Compute how many apples a farmer has left who sells a third, eats two of them every day, and gives another ten away"
    assert families([long, long.upper() + " ...now!", "another"]).tolist() in ([0, 0, 1], [1, 1, 0])


def test_a_template_is_no_family():
    found = families([f"{TEMPLATE}{word} or not?" for word in "abcdefgh"])
    assert len(set(found.tolist())) == 8


def test_the_same_prompt_many_times_is_one_family():
    assert len(set(families(["hello"] * 10).tolist())) == 1


@given(st.lists(st.text("ab ", max_size=4), min_size=1, max_size=40))
def test_equal_prompts_are_always_of_one_family(prompts):
    found = families(prompts)
    assert len({(prompt, family) for prompt, family in zip(prompts, found, strict=True)}) == len(set(prompts))


@given(st.lists(st.sampled_from(PROMPTS), min_size=30, max_size=80), st.integers(0, 5))
def test_folds_hold_each_row_once_and_no_family_on_both_sides(prompts, seed):
    if len(set(prompts)) < 5:
        return
    family = families(prompts)
    held = []
    for taught, test in folds(prompts, seed=seed):
        held += test.tolist()
        assert not set(family[taught]) & set(family[test])
        assert len(taught) + len(test) == len(prompts)
    assert sorted(held) == list(range(len(prompts)))


def test_domains_are_left_out_one_at_a_time_with_what_repeats_them():
    prompts = [*PROMPTS, PROMPTS[0]]
    names = [*(f"d{i % 4}" for i in range(60)), "d1"]
    parts = list(domains(prompts, names))
    assert len(parts) == 4
    for taught, test in parts:
        (name,) = {names[i] for i in test}
        assert not {prompts[i] for i in taught} & {prompts[i] for i in test}, name
    assert sorted(np.concatenate([test for _, test in parts]).tolist()) == list(range(61))


def test_many_domains_are_left_out_together():
    parts = list(domains(PROMPTS, [f"d{i % 30}" for i in range(60)], most=10))
    assert len(parts) == 10


@pytest.mark.parametrize("names", [["a"] * 60, ["a", "b"] * 30])
def test_too_few_domains(names):
    with pytest.raises(BadData, match="at least 3 domains"):
        list(domains(PROMPTS, names))


def test_too_few_prompts():
    with pytest.raises(BadData, match="at least 5 different prompts, given 1"):
        list(folds(["same"] * 9))


def test_a_print_is_of_letters_and_digits():
    assert print_of("Hello, World!") == print_of("hello world") != print_of("hello word")
