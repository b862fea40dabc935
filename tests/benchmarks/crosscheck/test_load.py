import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.crosscheck import ours
from benchmarks.crosscheck.load import drawn, lateness_s
from benchmarks.load.target import Target

PLAN = {"requests": 40, "rate": 5.0, "prompt_words": 20, "output_tokens": 8, "seed": 3}


def test_arrivals_are_those_that_vllm_bench_draws_from_the_seed():
    # vllm/benchmarks/serve.py: np.random.seed(seed), a gamma gap for each request, then stretched to requests / rate
    np.random.seed(3)  # noqa: NPY002 - vLLM's own generator
    gaps = [np.random.gamma(shape=1.0, scale=1 / (5.0 * 1.0)) for _ in range(40)]  # noqa: NPY002 - as above
    times = np.cumsum(gaps)
    assert drawn(**PLAN).due_s == pytest.approx(times * (40 / 5.0 / times[-1]))


def test_a_load_depends_on_its_seed_alone():
    assert drawn(**PLAN) == drawn(**PLAN)
    assert drawn(**PLAN).prompts != drawn(**{**PLAN, "seed": 4}).prompts


def test_no_two_prompts_begin_alike_and_no_two_runs_do():
    load = drawn(**PLAN)
    begins = {prompt.partition(" ")[0] for prompt in load.prompts}
    assert len(begins) == len(load.prompts)
    first, second = load.of_run(0), load.of_run(1)
    assert not set(first.prompts) & set(second.prompts)
    assert (first.due_s, first.output_tokens) == (load.due_s, load.output_tokens)


def test_prompts_are_half_to_one_and_a_half_times_as_long_as_asked():
    lengths = [len(prompt.split()) - 1 for prompt in drawn(**PLAN).prompts]
    assert min(lengths) >= 10
    assert max(lengths) <= 30
    assert len(set(lengths)) > 5


def test_every_request_of_our_script_is_measured():
    load = drawn(**PLAN)
    made = ours.script(load, "model")
    assert [each.arrival_s for each in made.conversations] == list(load.due_s)
    assert all(made.start_s <= each.arrival_s < made.end_s for each in made.conversations)
    assert [each.asks[0].body for each in made.conversations] == load.bodies("model")


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=20),
    st.floats(-1e6, 1e6),
    st.lists(st.floats(0, 1), min_size=20, max_size=20),
)
def test_lateness_does_not_depend_on_whose_clock_it_is(gaps, shift, late):
    due = list(np.cumsum(gaps))
    sent = sorted(each + shift + extra for each, extra in zip(due, late, strict=False))
    found = lateness_s(due, sent)
    assert min(found) == 0
    assert max(found) <= 1 + 1e-6


def test_lateness_of_one_request():
    assert lateness_s((0, 1, 2), (10, 11.5, 12)) == [0, 0.5, 0]


def test_a_load_survives_the_way_to_our_own_process(tmp_path):
    command = ours.find().command(drawn(**PLAN), Target("http://127.0.0.1:1", "m"), tmp_path)
    assert ours.given(tmp_path / command[-1]) == (drawn(**PLAN), Target("http://127.0.0.1:1", "m"))
