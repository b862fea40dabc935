"""Traffic: lengths and keys agree, prefixes are shared where they must be, and a seed decides everything."""

from random import Random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.scheduling.indexed import BLOCK_TOKENS
from benchmarks.workloads import FOR_RUNS, LADDER, MAIN, OTHERS, WORKLOADS, Session
from benchmarks.workloads.traces import read_trace
from benchmarks.workloads.traffic import EMPTY, Traffic, Writer, bursty, lognormal, poisson


@given(st.lists(st.integers(0, 500), max_size=12))
def test_a_text_has_one_key_for_each_whole_block(appended):
    writer, text = Writer(), EMPTY
    for tokens in appended:
        longer = writer.append(text, tokens)
        assert longer.tokens == text.tokens + tokens
        assert len(longer.keys) == longer.tokens // BLOCK_TOKENS
        assert longer.keys[: len(text.keys)] == text.keys
        text = longer
    assert len(set(text.keys)) == len(text.keys)


@given(st.integers(0, 1_000), st.integers(1, 1_000), st.integers(1, 1_000))
def test_two_texts_share_exactly_the_blocks_within_what_they_have_in_common(common, first, second):
    writer = Writer()
    stem = writer.append(EMPTY, common)
    one, other = writer.append(stem, first), writer.append(stem, second)
    assert set(one.keys) & set(other.keys) == set(stem.keys)


@pytest.mark.parametrize("workload", [*MAIN, *OTHERS, *FOR_RUNS], ids=lambda workload: workload.name)
def test_a_workload_is_decided_by_its_seed_and_consistent(workload):
    traffic = workload.traffic(0.3, 2, seed=1)
    again, another = workload.traffic(0.3, 2, seed=1), workload.traffic(0.3, 2, seed=2)
    assert again.sessions == traffic.sessions
    assert another.sessions != traffic.sessions
    assert 0 < traffic.start_s < traffic.end_s
    measured = [s for s in traffic.sessions if traffic.start_s <= s.arrival_s < traffic.end_s]
    assert measured
    for session in _all(traffic):
        assert session.turns
        before = 0
        for turn in session.turns:
            assert turn.prompt_tokens > before
            assert turn.output_tokens > 0
            assert len(session.prompt_keys(turn)) == turn.prompt_tokens // BLOCK_TOKENS
            assert len(session.engine_keys(turn)) <= (turn.prompt_tokens + turn.output_tokens) // BLOCK_TOKENS
            before = turn.prompt_tokens + turn.output_tokens


def _all(traffic: Traffic) -> list[Session]:
    found = []
    left = list(traffic.sessions)
    while left:
        session = left.pop()
        found.append(session)
        left += [child for turn in session.turns for child in turn.background]
    return found


def test_load_is_arrivals_over_capacity_and_grows_with_the_fleet():
    workload = WORKLOADS["all_unique"]

    def rate(load, replicas):
        traffic = workload.traffic(load, replicas, 1)
        return len(traffic.sessions) / traffic.end_s

    assert rate(0.5, 8) == pytest.approx(0.5 * 8 * workload.capacity, rel=0.05)
    assert rate(1.0, 16) == pytest.approx(16 * workload.capacity, rel=0.05)


def test_fresh_questions_share_their_groups_system_prompt_alone():
    traffic = WORKLOADS["fresh_questions"].traffic(0.5, 8, 1)
    groups: dict[str, list[Session]] = {}
    for session in traffic.sessions:
        groups.setdefault(session.user.split(" prompt")[0], []).append(session)
    assert len(groups) == 150
    assert len({session.keys for session in traffic.sessions}) == len(traffic.sessions)
    for one, other, *_ in groups.values():
        assert len(set(one.keys) & set(other.keys)) == 6_000 // BLOCK_TOKENS


def test_the_ladder_is_stages_of_prompts_that_the_fill_sent_before():
    stage = LADDER.traffic(1.0, 8, 1)
    assert stage.name == "fill"
    filled = {session.keys for session in stage.sessions}
    assert len(filled) == 750
    names = []
    while (stage := stage.then) is not None:
        names.append(stage.name)
        assert {session.keys for session in stage.sessions} <= filled
        assert len(stage.sessions) == pytest.approx(int(stage.name.split()[0]) * stage.end_s, rel=0.35)
    assert (names[0], names[-1], len(names)) == ("3 qps", "60 qps", 16)


def test_a_trace_is_replayed_with_its_own_prefixes_at_another_speed():
    assert len(read_trace("mooncake_conversation.jsonl.gz")) == 12_031
    assert len(read_trace("mooncake_synthetic.jsonl.gz")) == 3_993
    traffic = WORKLOADS["mooncake"].traffic(0.9, 8, 1)
    rate = 0.9 * 8 * WORKLOADS["mooncake"].capacity
    assert len(traffic.sessions) == pytest.approx(rate * 400, rel=0.25)
    first_blocks = [session.keys[:8] for session in traffic.sessions if len(session.keys) >= 8]
    assert max(map(first_blocks.count, set(first_blocks))) > 0.8 * len(first_blocks)


@pytest.mark.parametrize("name", ["azure_conversation", "azure_code"])
def test_an_excerpt_has_the_rate_that_was_asked_for_and_the_lengths_of_its_trace(name):
    workload = WORKLOADS[name]
    for seed in range(5):
        sessions = workload.at(5.0, 1, seed, duration_s=60, settle_s=10).sessions
        assert len(sessions) == pytest.approx(300, abs=3)
        assert all(0 <= session.arrival_s < 60 for session in sessions)
    trace = read_trace(f"{name}.csv.gz")
    several_rounds = workload.at(len(trace) / 40, 1, 1, duration_s=50, settle_s=1).sessions
    assert len(several_rounds) == pytest.approx(1.25 * len(trace), rel=0.01)
    first_keys = [session.keys[0] for session in several_rounds if session.keys]
    assert len(set(first_keys)) == len(first_keys)
    assert {s.turns[0].prompt_tokens for s in several_rounds} == {row.prompt_tokens for row in trace}


def test_prefix_repetition_is_that_of_vllm_bench():
    sessions = WORKLOADS["prefix_repetition"].traffic(0.5, 1, 1).sessions
    assert {(s.turns[0].prompt_tokens, s.turns[0].output_tokens) for s in sessions} == {(512, 128)}
    assert len({session.keys[:4] for session in sessions}) == 10
    assert len({session.keys for session in sessions}) == len(sessions)


def test_fixed_questions_repeat_what_the_fill_sent():
    traffic = WORKLOADS["fixed_questions"].traffic(0.5, 2, 1)
    filled = {session.keys for session in traffic.sessions[:190]}
    assert {session.keys for session in traffic.sessions} == filled


def test_bursts_keep_the_number_and_the_order_of_arrivals():
    arrivals = poisson(Random(1), 50.0, 400.0)
    warped = bursty(arrivals, period_s=40, factor=3, share=0.25)
    assert warped == sorted(warped)
    assert len(warped) == len(arrivals)
    dense = sum(arrival % 40 < 10 for arrival in warped)
    assert dense == pytest.approx(0.75 * len(arrivals), rel=0.05)


@pytest.mark.parametrize(("factor", "share"), [(5, 0.25), (0.5, 0.25), (3, 1.5)])
def test_bursts_that_no_mean_rate_allows_are_refused(factor, share):
    with pytest.raises(ValueError, match="factor"):
        bursty([1.0], period_s=40, factor=factor, share=share)


def test_lognormal_lengths_have_the_mean_they_are_given():
    rng = Random(1)
    lengths = [lognormal(rng, 250, 0.9, 1, 1_000_000) for _ in range(20_000)]
    assert mean(lengths) == pytest.approx(250, rel=0.05)
