"""Each peer's rule in situations made by hand: cold, warm, the switch, the gate, ties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.scheduling.peers import (
    DynamoCost,
    LlmdBlend,
    LlmdSticky,
    LMetric,
    PrebleE2,
    ProductionStackLoadAware,
    SglangCacheAware,
    dynamo,
    llm_d,
    preble,
    sglang,
)
from balancer.core.scheduling.peers.window import STEPS, Window
from balancer.core.types import Usage
from tests.core.scheduling.stage import BLOCK, Stage, asked
from tests.core.states import sample

RANDOM_TIES = [SglangCacheAware, LlmdBlend, LlmdSticky, DynamoCost, PrebleE2, LMetric]
PEERS = [*RANDOM_TIES, lambda index, rng: ProductionStackLoadAware(index)]


@pytest.mark.parametrize("make", RANDOM_TIES)
def test_ties_are_broken_at_random(make):
    assert Stage(make, 3).often("xyz") == {"a", "b", "c"}


@pytest.mark.parametrize("make", PEERS)
def test_what_a_replica_holds_draws_the_request_there(make):
    stage = Stage(make, 4)
    stage.hold("pppp", on="c")
    decision = stage.choose("ppppq")
    assert (decision.replica, decision.matched_tokens, decision.uncached_tokens) == ("c", 4 * BLOCK, BLOCK)
    assert decision.candidates[0].replica == "c"
    assert [c.cost for c in decision.candidates] == sorted(c.cost for c in decision.candidates)


@pytest.mark.parametrize("make", PEERS)
def test_a_prompt_that_is_held_whole_is_still_charged_for_a_token(make):
    stage = Stage(make, 2)
    stage.hold("pp", on="b")
    assert stage.choose("pp")[:1] + stage.choose("pp")[2:4] == ("b", 2 * BLOCK, 1)


@pytest.mark.parametrize("make", PEERS)
def test_nothing_is_kept_of_replicas_that_have_left(make):
    stage = Stage(make, 3)
    charges = [stage.send(text) for text in ("ab", "abc", "x", "")]
    for state in stage.fleet:
        stage.policy.left(state)
    for charge in charges:
        charge.release(1.0, Usage(10, 10))
    assert len(stage.index) == 0
    assert not [kept for kept in vars(stage.policy).values() if isinstance(kept, dict) and kept]


# -- SGLang


def test_sglang_takes_the_longest_match_above_the_threshold():
    stage = Stage(SglangCacheAware, 3)
    stage.hold("ppp", on="b")
    stage.hold("pppp", on="c")
    assert stage.choose("ppppqqqqqq")[:2] == ("c", "longest_match")


def test_sglang_takes_the_smallest_tree_below_it():
    stage = Stage(SglangCacheAware, 3)
    for text, on in (("ppp", "a"), ("x", "b"), ("yz", "c")):
        stage.hold(text, on)
    assert stage.choose("pppqqqqqqq")[:3] == ("b", "smallest_tree", 0)


@pytest.mark.parametrize(
    ("loads", "imbalanced"),
    [((65, 0, 65), True), ((64, 0, 64), False), ((195, 130, 195), False), ((196, 130, 196), True)],
)
def test_sglang_gives_up_affinity_when_loads_are_far_apart(loads, imbalanced):
    stage = Stage(SglangCacheAware, 3)
    stage.hold("pp", on="a")
    for state, load in zip(stage.fleet, loads, strict=True):
        state.in_flight = load
    expected = ("b", "imbalanced") if imbalanced else ("a", "longest_match")
    assert stage.choose("pp")[:2] == expected


def test_sglang_sends_what_cannot_be_matched_to_the_fewest_requests():
    stage = Stage(SglangCacheAware, 2)
    stage["a"].in_flight = 1
    stage.hold("xyz", on="b")
    assert stage.choose("")[:2] == ("b", "nothing_to_match")


def test_sglangs_trees_have_their_own_bound(monkeypatch):
    monkeypatch.setattr(sglang, "TREE_BLOCKS", 2)
    stage = Stage(SglangCacheAware, 1)
    stage.policy.sized(stage["a"], 1_000_000)
    stage.hold("pqrs", on="a")
    assert stage.choose("pqrs").matched_tokens == 2 * BLOCK


# -- llm-d


def readings(stage, **told):
    for name, (waiting, kv_usage) in told.items():
        stage[name].sample = sample(stage.now, waiting=waiting, kv_usage=kv_usage)


def test_the_blend_weighs_match_queue_and_memory():
    stage = Stage(LlmdBlend, 3)
    stage.hold("pp", on="a")
    readings(stage, a=(1.0, 0.5), b=(0.0, 0.0), c=(4.0, 0.0))
    costs = {c.replica: c.cost for c in stage.choose("ppqq").candidates}
    assert costs == pytest.approx({"a": -(1.5 + 1.5 + 1), "b": -(0 + 2 + 2), "c": -(0 + 0 + 2)})


def test_equal_queues_give_no_preference_to_the_blend():
    stage = Stage(LlmdBlend, 2)
    readings(stage, a=(7.0, 0.2), b=(7.0, 0.1))
    costs = {c.replica: c.cost for c in stage.choose("x").candidates}
    assert costs == pytest.approx({"a": -(2 + 1.6), "b": -(2 + 1.8)})


def test_a_replica_that_tells_nothing_counts_as_the_worst_to_the_blend():
    stage = Stage(LlmdBlend, 3)
    readings(stage, a=(0.0, 0.1), b=(5.0, 0.6))
    costs = {c.replica: c.cost for c in stage.choose("x").candidates}
    assert costs["c"] == costs["b"] > costs["a"]
    stage["c"].sample = sample(0.0, waiting=0.0, kv_usage=0.0)
    stage.now = 11.0  # an old reading is none
    readings(stage, a=(0.0, 0.1), b=(5.0, 0.6))
    assert stage.choose("x").replica == "a"


def test_sticky_keeps_to_the_warm_until_the_gate_opens():
    stage = Stage(LlmdSticky, 3)
    stage.hold("pppp", on="a")
    stage.hold("pppp", on="b")
    gate = int(llm_d.TOLERATED_WAIT_S * llm_d.PEAK_PREFILL_TOKENS_PER_S)
    stage["a"].pending_tokens, stage["b"].pending_tokens = gate + 100, gate
    assert stage.choose("ppppp")[:2] == ("b", "sticky")
    stage["b"].pending_tokens = gate + 1
    assert stage.choose("ppppp")[:2] == ("c", "saturated")
    stage["c"].pending_tokens = 1
    assert stage.choose("ppppp")[:2] == ("b", "sticky")


def test_sticky_counts_a_match_below_four_fifths_as_cold():
    stage = Stage(LlmdSticky, 2)
    stage.hold("ppp", on="a")
    stage["a"].pending_tokens = 2 * BLOCK
    assert stage.choose("pppq")[:2] == ("a", "cold")  # 3 blocks saved, 2 queued
    stage["a"].pending_tokens = 4 * BLOCK
    assert stage.choose("pppq")[:2] == ("b", "cold")
    stage.hold("pppq", on="a")
    stage["a"].pending_tokens = 4 * BLOCK
    assert stage.choose("pppqr")[:2] == ("a", "sticky")


def test_stickys_queue_is_released_at_the_first_token():
    stage = Stage(LlmdSticky, 2)
    charge = stage.send("pppp", "a")
    assert stage.choose("x").replica == "b"
    charge.first_token(0.1)
    assert stage.often("x") == {"a", "b"}


# -- Dynamo


def costs_of(stage, text):
    return {c.replica: c.cost for c in stage.choose(text).candidates}


def test_dynamo_adds_prefill_and_what_would_be_held():
    stage = Stage(DynamoCost, 2)
    assert costs_of(stage, "ppq") == {"a": 3 + 3, "b": 3 + 3}
    charge = stage.send("ppxyz", "a")  # 5 blocks queued and 5 held, of which 2 are this prompt's
    assert costs_of(stage, "ppq") == {"a": 5 + 1 + 5 + 1, "b": 6}
    charge.first_token(0.1)
    assert costs_of(stage, "ppq") == {"a": 1 + 5 + 1, "b": 6}
    charge.release(0.2)
    assert costs_of(stage, "ppq") == {"a": 1 + 3, "b": 6}


def test_dynamo_counts_a_block_that_requests_share_once():
    stage = Stage(DynamoCost, 1)
    first, second = stage.send("pp", "a"), stage.send("ppq", "a")
    for charge in (first, second):
        charge.first_token(0.1)
    assert costs_of(stage, "x") == {"a": 1 + 3 + 1}
    second.release(0.2)
    assert costs_of(stage, "x") == {"a": 1 + 2 + 1}
    first.release(0.3)
    assert costs_of(stage, "x") == {"a": 1 + 1}


@given(st.text("pq", max_size=6), st.lists(st.text("pq", min_size=1, max_size=6), max_size=5))
def test_dynamo_finds_the_active_beginning_of_a_prompt(text, running):
    stage = Stage(DynamoCost, 1)
    for other in running:
        stage.send(other, "a").first_token(0.0)
    held = {other[:end] for other in running for end in range(1, len(other) + 1)}
    needed = {text[:end] for end in range(1, len(text) + 1)}
    cost = costs_of(stage, text)["a"]
    assert int(cost - dynamo.uncached_tokens(*_matched(stage, text)) / BLOCK + 0.5) == len(held | needed)


def _matched(stage, text):
    request = asked(text)
    return request, stage.policy.choose(request, stage.fleet, stage.now).matched_tokens


# -- Preble


def test_preble_exploits_only_what_is_more_than_half_cached():
    stage = Stage(PrebleE2, 2)
    stage.hold("ppp", on="a")
    assert stage.choose("pppqq")[:2] == ("a", "exploited")
    assert stage.choose("pppqqq").reason == "explored"


def test_preble_explores_by_load_and_what_the_prompt_costs():
    stage = Stage(PrebleE2, 2)
    stage.hold("pp", on="a")  # 2 blocks and an output's worth of load
    costs = costs_of(stage, "ppqqqq")
    output = preble.DECODED * preble.FIRST_OUTPUT_TOKENS
    assert costs == pytest.approx({"a": 2 * BLOCK + output + 1.5 * 4 * BLOCK, "b": 1.5 * 6 * BLOCK})


def test_preble_shares_among_the_holders_of_the_longest_match():
    stage = Stage(PrebleE2, 3)
    stage.hold("pppp", on="a")
    stage.hold("pppp", on="b")
    stage.hold("x", on="b")
    stage.hold("ppp", on="c")  # less load, and a shorter match
    assert stage.choose("pppp")[:2] == ("a", "exploited")


def test_preble_passes_on_one_request_of_a_prefix_every_ten_seconds():
    stage = Stage(PrebleE2, 2)
    stage.hold("pppp", on="a")
    stage.now = 1.0
    for number in range(20):
        stage.hold(f"{number:c}" + "w" * 30, on="a")
    assert stage.choose("ppppq")[:2] == ("b", "rebalanced")
    assert stage.choose("ppppr")[:2] == ("a", "exploited")
    stage.now += preble.PASSED_ON_EVERY_S
    assert stage.choose("pppps")[:2] == ("b", "rebalanced")


def test_preble_forgets_load_after_three_minutes():
    stage = Stage(PrebleE2, 2)
    stage.hold("x", on="a")
    assert stage.often("y") == {"b"}
    stage.now = preble.WINDOW_S
    assert stage.often("y") == {"a", "b"}


def test_preble_learns_how_long_answers_are():
    stage = Stage(PrebleE2, 2)
    for _ in range(400):
        stage.send("x", "a").release(0.0, Usage(1, 1))
    stage.now = 1000.0
    stage.hold("y", on="a")
    assert costs_of(stage, "z")["a"] < BLOCK + preble.DECODED * 2 + 1.5 * BLOCK


# -- LMetric


def test_lmetric_multiplies_new_tokens_by_the_batch():
    stage = Stage(LMetric, 2)
    stage.hold("pp", on="a")
    stage["a"].in_flight, stage["a"].pending_tokens = 4, 100
    stage["b"].in_flight = 1
    assert costs_of(stage, "ppq") == {"a": (100 + BLOCK) * 5, "b": 3 * BLOCK * 2}


def test_lmetric_orders_even_what_is_held_whole():
    stage = Stage(LMetric, 2)
    for name in ("a", "b"):
        stage.hold("p", on=name)
    stage["a"].in_flight = 1
    assert stage.often("p") == {"b"}


# -- production-stack


def loadaware(index, rng):
    return ProductionStackLoadAware(index)


def test_loadaware_trades_a_whole_hit_for_twice_the_mean_load():
    stage = Stage(loadaware, 2)
    stage.hold("pp", on="a")
    stage["a"].in_flight, stage["b"].in_flight = 5, 3
    assert costs_of(stage, "pp") == pytest.approx({"a": 0.25 - 1, "b": -0.25})
    stage["a"].in_flight, stage["b"].in_flight = 4, 1
    assert stage.choose("pp")[:2] == ("b", "highest_score")


def test_loadaware_counts_a_mean_below_one_request_as_one():
    stage = Stage(loadaware, 4)
    stage.hold("ppp", on="a")
    stage["a"].in_flight = 1
    assert costs_of(stage, "ppp") == pytest.approx({"a": 0.75 - 1, "b": -0.25, "c": -0.25, "d": -0.25})
    assert stage.choose("ppp").replica == "a"
    assert stage.choose("pppq").replica == "b"


def test_loadaware_takes_the_first_by_name_of_equals():
    stage = Stage(loadaware, 3)
    for name in ("c", "b"):
        stage.hold("pp", on=name)
    stage.fleet.reverse()
    assert stage.often("pp") == {"b"}


def test_loadaware_falls_back_to_the_session_and_then_to_the_lowest_rate():
    stage = Stage(loadaware, 3)
    homes = {session: stage.choose("xy", session)[:2] for session in ("s1", "s2", "s3", "s4", "s5")}
    assert {reason for _, reason in homes.values()} == {"session"}
    assert len({home for home, _ in homes.values()}) > 1
    assert all(stage.choose("z", session)[:2] == home for session, home in homes.items())
    for text, on in (("q", "a"), ("r", "b"), ("s", "a")):
        stage.hold(text, on)
    assert stage.choose("xy")[:2] == ("c", "lowest_rate")
    stage.hold("t", on="c")
    stage.hold("u", on="c")
    assert stage.choose("xy")[:2] == ("b", "lowest_rate")
    stage.now = 60.0
    assert stage.choose("xy").replica == "a"


# -- what they count with


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(0, 1000)), max_size=60), st.floats(0, 200))
def test_a_window_sums_what_is_recent_and_stays_small(added, later):
    window, now, log = Window(36.0), 0.0, []
    for passed, amount in added:
        now += passed
        window.add(amount, now)
        log.append((now, amount))
    now += later
    total = window.total(now)
    assert total >= sum(amount for at, amount in log if at > now - 35.0 + 1e-6)
    assert total <= sum(amount for at, amount in log if at > now - 36.0 - 1e-6)
    assert len(window._steps) <= STEPS


def test_a_window_reaches_back_nearly_its_whole_length():
    window = Window(36.0)
    window.add(1, 0.0)
    assert (window.total(35.9), window.total(36.0)) == (1, 0)
