"""Which tier one request gets, of what is offered, and what is told of it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.tiering.choice import pick
from balancer.core.tiering.sticky import Kept
from balancer.core.tiering.types import Ask, Score, Sort
from tests.core.tiering.plans import HUGE, LARGE, SMALL, Remembered, bid, plan, virtual

BIDS = [bid(SMALL, usd=0.001), bid(LARGE, usd=0.003)]
USUAL = {"mean": 0.002, "size": 0.002}


def picked(made, bids=None, rules=None, kept=None):
    return pick(made, bids or BIDS, rules or Remembered(0.7, **USUAL), kept, 0.0)


def told(found, made):
    return made.options[found.option].name, found.reason


def chosen(score=None, **rest):
    bids, rules, kept = rest.pop("bids", None), rest.pop("rules", None), rest.pop("kept", None)
    made = plan(score, **rest)
    return told(picked(made, bids, rules, kept), made)


# -- by the score


def test_far_from_the_threshold_quality_decides_whatever_it_costs():
    dear = [bid(SMALL, usd=0.001), bid(LARGE, usd=50.0, cost_s=100.0)]
    cheap = [bid(SMALL, usd=50.0, cost_s=100.0), bid(LARGE, usd=0.0)]
    assert chosen(0.9, spread=0.1, bids=dear) == ("large", "score")
    assert chosen(0.5, spread=0.1, bids=cheap) == ("small", "score")


@pytest.mark.parametrize(
    ("score", "usd", "cost_s", "tier"),
    [
        (0.72, 0.003, 0.0, "large"),  # as usual: the score alone
        (0.68, 0.003, 0.0, "small"),
        (0.72, 0.004, 0.0, "small"),  # a long answer has to be worth it
        (0.72, 0.003, 2.0, "small"),  # so has a queue
        (0.68, 0.002, 0.0, "large"),  # a warm cache takes it up
    ],
)
def test_in_the_band_what_it_costs_decides(score, usd, cost_s, tier):
    bids = [bid(SMALL, usd=0.001), bid(LARGE, usd=usd, cost_s=cost_s)]
    assert chosen(score, spread=0.1, bids=bids) == (tier, "band")


def test_an_idle_large_tier_takes_up_what_a_busy_small_one_has():
    bids = [bid(SMALL, usd=0.001, cost_s=3.0), bid(LARGE, usd=0.003)]
    assert chosen(0.65, spread=0.1, bids=bids) == ("large", "band")


def test_without_offers_the_score_decides():
    assert chosen(0.72, spread=0.1, bids=[None, None]) == ("large", "band")
    assert chosen(0.68, spread=0.1, bids=[None, None]) == ("small", "band")


@given(
    score=st.floats(0, 1),
    spread=st.floats(0, 0.5),
    threshold=st.floats(0.01, 1),
    usd=st.floats(0, 10),
    cost_s=st.floats(0, 100),
)
def test_no_cost_outweighs_more_than_the_band(score, spread, threshold, usd, cost_s):
    made = plan(score, spread=spread)
    bids = [bid(SMALL, usd=1.0, cost_s=1.0), bid(LARGE, usd=usd, cost_s=cost_s)]
    found = picked(made, bids, Remembered(threshold, **USUAL))
    assert found == picked(made, bids, Remembered(threshold, **USUAL))
    if score > threshold + spread:
        assert told(found, made) == ("large", "score")
    if score < threshold - spread:
        assert told(found, made) == ("small", "score")


def test_a_tie_is_drawn_and_its_probability_told():
    rules = Remembered(0.7)
    rules.cut(1).chance = lambda score, now: 0.25
    assert [chosen(0.7, rules=rules, draw=draw)[0] for draw in (0.1, 0.9)] == ["large", "small"]
    assert picked(plan(0.7, draw=0.1), rules=rules).propensity == 0.25
    assert picked(plan(0.7, draw=0.9), rules=rules).propensity == 0.75


def test_a_plan_without_a_draw_is_decided_as_any_other():
    assert chosen(0.9, draw=1.0) == ("large", "score")
    assert chosen(0.5, draw=1.0) == ("small", "score")


# -- three tiers


@pytest.mark.parametrize(("score", "tier"), [(0.5, "small"), (0.8, "large"), (0.95, "huge")])
def test_each_step_has_its_threshold(score, tier):
    rules = Remembered(0.7, 0.9)
    assert chosen(score, options=(SMALL, LARGE, HUGE), bids=[None] * 3, rules=rules) == (tier, "score")


def test_a_tier_keeps_its_step_where_rules_leave_out_weaker_ones():
    of = virtual(SMALL, LARGE, HUGE)
    rules = Remembered(0.2, 0.9)
    assert chosen(0.8, of=of, options=(LARGE, HUGE), bids=[None] * 2, rules=rules) == ("large", "score")


def test_expected_qualities_are_weighed_against_the_best_of_the_weaker():
    """The second is no better than the first, so the third has to be better than the first."""
    score = Score(0.5, qualities=(("small-model", 0.6), ("large-model", 0.55), ("huge-model", 0.9)))
    rules = Remembered(0.1, 0.25)
    assert chosen(score, options=(SMALL, LARGE, HUGE), bids=[None] * 3, rules=rules) == ("huge", "score")
    rules = Remembered(0.1, 0.35)
    assert chosen(score, options=(SMALL, LARGE, HUGE), bids=[None] * 3, rules=rules) == ("small", "score")


# -- what is not known, rules, what was asked


def test_what_the_classifier_does_not_know_goes_to_the_default_or_stays():
    assert chosen(None, of=virtual(default="large")) == ("large", "default")
    assert chosen(None, kept=Kept("large", 10), turn=2) == ("large", "sticky")


def test_one_option_is_no_choice():
    assert chosen(0.1, options=(LARGE,), of=virtual()) == ("large", "asked")
    assert chosen(0.1, options=(LARGE,), of=virtual(), rule="images") == ("large", "rule")
    assert chosen(0.1, options=(LARGE,), of=virtual(), forced="canary") == ("large", "canary")


def test_an_order_that_was_asked_for():
    assert chosen(0.1, ask=Ask("auto", order=("nobody", "large-model", "small"))) == ("large", "asked")


@pytest.mark.parametrize(
    ("sort", "tier"), [(Sort.PRICE, "small"), (Sort.LATENCY, "large"), (Sort.THROUGHPUT, "large")]
)
def test_a_sort_that_was_asked_for(sort, tier):
    bids = [bid(SMALL, usd=0.001, cost_s=2.0), bid(LARGE, usd=0.003, cost_s=1.0)]
    assert chosen(0.1, ask=Ask("auto:nitro", sort=sort), bids=bids) == (tier, "asked")


def test_a_shadow_changes_nothing_and_tells_what_it_would_have_done():
    made = plan(0.9, of=virtual(shadow=True))
    found = picked(made)
    assert (*told(found, made), found.wanted) == ("small", "shadow", 1)


# -- exploring


@pytest.mark.parametrize("score", [0.1, 0.9])
def test_who_is_explored_and_how_probable_each_tier_was(score):
    of, draws = virtual(explore=0.1), [(n + 0.5) / 1000 for n in range(1000)]
    plans = [plan(score, of=of, draw=draw) for draw in draws]
    found = [picked(made) for made in plans]
    assert sum(each.reason == "explore" for each in found) == 100
    for option in (0, 1):
        got = [each for each in found if each.option == option]
        assert {round(each.propensity, 9) for each in got} == {round(len(got) / 1000, 9)}


def test_nobody_is_explored_in_the_middle_of_a_conversation():
    kept = Kept("small", 10, propensity=0.05)
    made = plan(0.1, of=virtual(explore=0.5), draw=0.0, turn=2)
    found = picked(made, kept=kept)
    assert (*told(found, made), found.propensity) == ("small", "score", 0.05)


# -- conversations


def test_a_conversation_moves_up_freely():
    assert chosen(0.9, spread=0.1, kept=Kept("small", 9999), turn=2) == ("large", "score")


@pytest.mark.parametrize("score", [0.62, 0.7, 0.78])
@pytest.mark.parametrize("tier", ["small", "large"])
def test_within_the_band_it_stays(tier, score):
    name, reason = chosen(score, spread=0.1, kept=Kept(tier, 10), turn=2)
    assert name == tier
    assert reason in {"band", "sticky"}


def test_it_moves_down_only_if_that_saves_what_it_says():
    made = plan(0.3, spread=0.1, turn=2)
    found = picked(made, [bid(SMALL, usd=0.002), bid(LARGE, usd=0.005)], kept=Kept("large", 10))
    assert told(found, made) == ("small", "score")
    assert found.saved == pytest.approx(0.003)
    cold = [bid(SMALL, usd=0.002, cost_s=1.0), bid(LARGE, usd=0.005)]
    assert chosen(0.3, spread=0.1, bids=cold, kept=Kept("large", 10), turn=2) == ("large", "sticky")
    assert chosen(0.3, spread=0.1, bids=[None, None], kept=Kept("large", 10), turn=2) == ("large", "sticky")


@pytest.mark.parametrize(("score", "kept"), [(0.1, "small"), (None, "small"), (0.9, "small")])
def test_one_that_goes_badly_moves_up(score, kept):
    says = "No, that is wrong."
    assert chosen(score, kept=Kept(kept, 10), turn=2, says=says) == ("large", "escalated")


def test_one_that_went_badly_does_not_go_back():
    kept = Kept("large", 10, least="large")
    saves = [bid(SMALL, usd=0.0), bid(LARGE, usd=5.0)]
    assert chosen(0.1, kept=kept, turn=2, bids=saves) == ("large", "sticky")


def test_a_conversation_whose_tier_is_no_option_any_more_is_chosen_for_anew():
    assert chosen(0.9, kept=Kept("gone", 10), turn=2) == ("large", "score")


@given(
    scores=st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=2, max_size=12),
    spread=st.floats(0.02, 0.3),
    small_s=st.floats(0, 3),
    large_s=st.floats(0, 3),
)
def test_a_conversation_never_flaps(scores, spread, small_s, large_s):
    """It goes up only beyond the band and down only below it, for a saving that is told: never both for one score."""
    bids = [bid(SMALL, usd=0.001, cost_s=small_s), bid(LARGE, usd=0.003, cost_s=large_s)]
    kept = None
    for turn, score in enumerate(scores, 1):
        made = plan(score, spread=spread, turn=turn)
        found = picked(made, bids, kept=kept)
        name = made.options[found.option].name
        if kept is not None and name != kept.tier:
            assert score is not None
            assert abs(score - 0.7) >= spread
            if name == "small":
                assert score < 0.7
                assert found.saved > 0
            else:
                assert score > 0.7
        kept = Kept(name, 10)


def test_a_plan_that_is_asked_for_twice_gets_the_same_answer():
    made = plan(0.7, spread=0.2, of=replace(virtual(), explore=0.05))
    assert picked(made) == picked(made)
