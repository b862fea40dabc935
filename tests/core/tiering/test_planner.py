"""Plans: which tiers are left, who stands in, and when a score is asked for."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.errors import Refused
from balancer.core.tiering.ask import read_ask
from balancer.core.tiering.budget import TenantPolicy
from balancer.core.tiering.catalog import Catalog
from balancer.core.tiering.planner import Awaits
from balancer.core.tiering.rules import Condition, DecisionRule, Rules
from balancer.core.tiering.signals import Feedback, keywords
from balancer.core.tiering.types import (
    Arm,
    Ask,
    Canary,
    Experiment,
    Fallback,
    Price,
    Score,
    Sort,
    StrongShare,
    Text,
    Trouble,
)
from tests.core.tiering.given_tiers import ANY, AUTO, CATALOG, TIERS, Fixed, chain, names, plan, planner


def test_several_options_and_a_score():
    classifier = Fixed(0.4)
    made = plan(of=planner(classifier=classifier), tenant="t", draw=0.25)
    assert (names(made.options), chain(made), made.forced, made.rule) == (
        ["small", "large"],
        ["hosted"],
        "",
        "",
    )
    assert (made.score.value, classifier.asked) == (0.4, 1)
    assert (made.virtual, made.conversation, made.tenant, made.draw) == (AUTO, b"c", "t", 0.25)


@pytest.mark.parametrize("asked", ["fast", "q8", "large", "elsewhere"])
def test_one_option_asks_no_classifier(asked):
    classifier = Fixed()
    made = plan(asked, of=planner(classifier=classifier))
    assert (len(made.options), made.forced, made.score, classifier.asked) == (1, "asked", None, 0)


def test_a_model_in_several_pools_is_answered_by_whichever_is_first():
    made = plan("m")
    assert (names(made.options), made.forced, made.score, made.ask.sort) == (
        ["pool-a", "pool-b"],
        "asked",
        None,
        Sort.LATENCY,
    )


def test_a_classifier_that_is_not_there_knows_nothing():
    asked = planner()
    asked.classifiers = {}
    assert not plan(of=asked).score.known


def test_a_score_that_has_to_be_awaited_is_asked_for_only_where_it_is_needed():
    classifier = Fixed()
    awaiting = planner(classifier=classifier, awaited={"prior"})
    with pytest.raises(Awaits) as awaits:
        plan(of=awaiting)
    assert awaits.value.classifier == "prior"
    for asked in ("fast", "large", "l70", Ask("auto", order=("large",)), Ask("auto", sort=Sort.PRICE)):
        assert plan(asked, of=awaiting).score is None
    assert plan("best", of=awaiting).score.known  # its classifier is another
    assert plan(of=awaiting, given=Score(0.7, 0.2)) == plan(of=planner(classifier=Fixed(0.7, spread=0.2)))
    assert classifier.asked == 1


@pytest.mark.parametrize(
    ("ask", "options", "stand_in"),
    [
        (Ask("auto", models=("hosted", "q8")), ["small", "large"], ["hosted", "small"]),
        (Ask("auto", models=("best",)), ["small", "large"], ["large", "hosted"]),
        (Ask("q8", models=("l70", "elsewhere")), ["small"], ["large", "elsewhere"]),
        (Ask("q8"), ["small"], []),
        (Ask("auto", allow_fallbacks=False), ["small", "large"], []),
        (Ask("auto", models=("m",), allow_fallbacks=False), ["small", "large"], ["pool-a", "pool-b"]),
        (Ask("auto", sort=Sort.PRICE), ["small"], ["large", "hosted"]),
        (Ask("m", sort=Sort.PRICE), ["pool-b"], ["pool-a"]),
        (Ask("auto", sort=Sort.PRICE, allow_fallbacks=False), ["small"], []),
        (Ask("auto", sort=Sort.THROUGHPUT), ["small", "large"], ["small", "large", "hosted"]),
        (Ask("auto", sort=Sort.LATENCY, allow_fallbacks=False), ["small", "large"], []),
        (Ask("auto", order=("large",)), ["large"], ["small", "hosted"]),
        (Ask("auto", order=("l70", "small")), ["large"], ["small", "hosted"]),
        (Ask("auto", order=("l70",), allow_fallbacks=False), ["large"], []),
        (Ask("auto", order=("l70", "q8"), allow_fallbacks=False), ["large"], ["small"]),
        (Ask("auto", order=("elsewhere",)), ["small", "large"], ["hosted"]),
        (Ask("auto", only=frozenset({"large"})), ["large"], []),
        (Ask("auto", min_tier="large"), ["large"], []),  # how strong hosted is nobody said
    ],
)
def test_options_and_who_stands_in(ask, options, stand_in):
    made = plan(ask)
    assert (names(made.options), chain(made)) == (options, stand_in)
    assert all(each.on == ANY for each in made.chain)
    assert len(options) > 1 or made.forced == "asked"


def test_names_that_nobody_serves_are_passed_over():
    asked = planner(served=lambda: ["elsewhere"])
    made = plan(Ask("auto", models=("made-up", "elsewhere", "q8")), of=asked)
    assert chain(made) == ["elsewhere", "small", "hosted"]
    made = plan(Ask("made-up", models=("made-up-too", "gpt")), of=asked)
    assert (names(made.options), made.forced, made.ask) == (["hosted"], "asked", Ask("gpt"))
    assert names(plan("elsewhere", of=asked).options) == ["elsewhere"]
    with pytest.raises(Refused) as caught:
        plan(Ask("made-up", models=("made-up-too",)), of=asked)
    assert (caught.value.status, caught.value.param) == (404, "model")
    assert "auto, best, big, elsewhere, fast" in caught.value.message


def test_no_tier_stands_in_twice_and_reasons_are_joined():
    virtual = replace(AUTO, fallbacks=(Fallback("hosted", frozenset({Trouble.SATURATED})),))
    made = plan(Ask("auto", models=("hosted",)), of=planner(Catalog(TIERS, [virtual])))
    assert made.chain == (Fallback("hosted", ANY),)
    assert plan(of=planner(Catalog(TIERS, [virtual]))).chain == virtual.fallbacks


def test_who_cannot_serve_does_not_stand_in():
    images = Text("look", 4, images=1)
    made = plan(Ask("best", models=("small", "elsewhere")), images)
    assert (names(made.options), made.forced, made.rule, chain(made)) == (
        ["hosted"],
        "rule",
        "images",
        ["elsewhere"],
    )
    cheap = Ask("auto", max_price=Price(1.0, 3.0))
    assert chain(plan(cheap)) == []


def test_where_nobody_of_its_own_can_the_list_of_the_request_does():
    images = Text("look", 4, images=1)
    with pytest.raises(Refused, match="its images"):
        plan("auto", images)
    made = plan(Ask("auto", models=("q8", "gpt")), images)
    assert (names(made.options), made.forced, chain(made)) == (["hosted"], "asked", [])


def test_the_cheapest_is_found_for_the_request_at_hand():
    """Long prompts cost by input, long answers by output; replicas without a price cost nothing, providers without one much."""
    catalog = Catalog(
        [
            replace(TIERS[0], price=Price(0.1, 9.0)),
            replace(TIERS[1], price=Price(1.0, 1.0)),
            replace(TIERS[2], price=None),
        ],
        [replace(AUTO, tiers=("small", "large", "hosted"))],
    )
    ask = Ask("auto", sort=Sort.PRICE)
    short, long = Text("x", 1, answer_tokens=10), Text("x", 1, answer_tokens=4000)
    assert names(plan(ask, short, of=planner(catalog), tokens=4000).options) == ["small"]
    assert names(plan(ask, long, of=planner(catalog), tokens=10).options) == ["large"]
    assert chain(plan(ask, long, of=planner(catalog), tokens=10)) == ["small", "hosted"]
    free = Catalog(
        [replace(TIERS[0], price=Price(0.1, 0.1)), replace(TIERS[1], price=None)],
        [replace(AUTO, fallbacks=())],
    )
    assert names(plan(ask, of=planner(free)).options) == ["large"]


def conversations(count=4000):
    return [f"conversation {n}".encode() for n in range(count)]


def test_a_canary_takes_its_share_of_conversations_and_keeps_them():
    canary = replace(AUTO, canary=Canary("pool-a", 0.1))
    asked = planner(Catalog(TIERS, [canary]))
    found = {each: plan(of=asked, conversation=each) for each in conversations()}
    chosen = [made for made in found.values() if names(made.options) == ["pool-a"]]
    assert 0.08 < len(chosen) / len(found) < 0.12
    assert {made.forced for made in chosen} == {"canary"}
    again = planner(Catalog(TIERS, [canary]))
    assert all(
        names(plan(of=again, conversation=each).options) == names(made.options)
        for each, made in list(found.items())[:200]
    )


def test_a_canary_in_the_place_of_a_tier():
    asked = planner(Catalog(TIERS, [replace(AUTO, canary=Canary("pool-a", 1.0, "small"))]))
    made = plan(of=asked)
    assert (names(made.options), made.forced, made.score is not None) == (["pool-a", "large"], "", True)
    rules = Rules({"x": keywords(["x"])}, (DecisionRule("r", Condition("x"), min_tier="large"),))
    ruled = planner(asked.catalog, rules)
    assert names(plan(text=Text("x", 1), of=ruled).options) == ["large"]


def test_a_canary_is_not_for_who_said_what_he_wants_nor_for_what_it_cannot():
    whole = Catalog(
        TIERS, [replace(AUTO, canary=Canary("small", 1.0), tiers=("large", "hosted"), default="large")]
    )
    asked = planner(whole, policies={"a": TenantPolicy(frozenset({"large", "hosted"}))})
    assert plan(of=asked).forced == "canary"
    for ask in (
        Ask("auto", only=frozenset({"large"})),
        Ask("auto", sort=Sort.PRICE),
        Ask("auto", order=("large",)),
    ):
        assert names(plan(ask, of=asked).options) == ["large"]
    assert "small" not in names(plan(of=asked, tenant="a").options)
    assert names(plan(text=Text("look", 4, images=1), of=asked).options) == ["hosted"]


def with_experiment(*shares):
    arms = tuple(
        Arm(f"arm{n}", share, replace(AUTO, name=f"auto@t/arm{n}", target=StrongShare(n / 10)))
        for n, share in enumerate(shares)
    )
    return planner(Catalog(TIERS, [replace(AUTO, experiment=Experiment("t", arms))]))


def test_arms_have_their_shares_and_conversations_stay():
    asked = with_experiment(0.2, 0.3, 0.5)
    arms = Counter(plan(of=asked, conversation=each).arm for each in conversations())
    assert {arm: round(count / 4000, 1) for arm, count in arms.items()} == {
        "t/arm0": 0.2,
        "t/arm1": 0.3,
        "t/arm2": 0.5,
    }
    made = plan(of=asked, conversation=b"the same")
    assert plan(of=with_experiment(0.2, 0.3, 0.5), conversation=b"the same").arm == made.arm
    assert made.virtual.name == f"auto@{made.arm}"


def test_arms_are_pinned_for_all_time():
    """Other numbers would move every running test's conversations to other arms."""
    asked = with_experiment(0.5, 0.5)
    assert [plan(of=asked, conversation=each).arm[-1] for each in conversations(12)] == list(PINNED)


PINNED = "100011100010"


def test_what_is_no_conversation_is_drawn():
    asked = with_experiment(0.5, 0.5)
    assert [plan(of=asked, conversation=b"", draw=draw).arm for draw in (0.1, 0.6, 0.9999, 1.0)] == [
        "t/arm0", "t/arm1", "t/arm1", "t/arm1",
    ]  # fmt: skip


def test_a_bad_rating_is_a_signal_and_told():
    rules = Rules({"bad": Feedback()}, (DecisionRule("up", Condition("bad"), min_tier="large"),))
    asked = planner(
        rules=rules,
        rating=lambda tenant, conversation: 0.1 if (tenant, conversation) == ("t", b"c") else None,
    )
    made = plan(of=asked, tenant="t")
    assert (made.rating, made.rule) == (0.1, "up")
    assert (plan(of=asked).rating, plan(of=asked).rule) == (None, "")


asks = st.builds(
    Ask,
    st.sampled_from(["auto", "fast", "best", "q8", "m", "hosted", "elsewhere"]),
    models=st.lists(st.sampled_from(["auto", "l70", "gpt", "pool-a", "x"]), max_size=3).map(tuple),
    order=st.lists(st.sampled_from(["small", "l70", "x"]), max_size=2).map(tuple),
    only=st.none() | st.frozensets(st.sampled_from(["small", "large", "hosted"]), min_size=1),
    ignore=st.frozensets(st.sampled_from(["small", "gpt"])),
    allow_fallbacks=st.booleans(),
    max_price=st.none() | st.builds(Price, st.floats(0, 5), st.floats(0, 10)),
    sort=st.none() | st.sampled_from(Sort),
    min_tier=st.none() | st.sampled_from(["small", "large", "hosted"]),
)
texts = st.builds(Text, st.just("hi"), st.just(2), images=st.integers(0, 1), tools=st.integers(0, 1))


@given(asks, texts, st.integers(0, 80_000), st.sampled_from(["", "a", "b"]), st.floats(0, 0.999))
def test_whatever_is_asked_a_plan_keeps_the_rules(ask, text, tokens, tenant, draw):
    policies = {"a": TenantPolicy(frozenset({"small", "hosted"})), "b": TenantPolicy(min_tier="large")}
    try:
        made = plan(ask, text, of=planner(policies=policies), tokens=tokens, tenant=tenant, draw=draw)
    except Refused as refused:
        assert refused.status in {400, 403}
        return
    assert made.options
    assert len(set(names(made.options))) == len(made.options)
    assert len(set(chain(made))) == len(made.chain)
    assert (made.score is not None) == (made.forced == "")
    for tier in (*made.options, *made.reserve):
        assert not (text.images and tier.abilities.images is False)
        assert ask.only is None or tier.name in ask.only
        assert not {tier.name, tier.model} & ask.ignore
        assert tenant != "a" or tier.name in {"small", "hosted"}
        if ask.max_price is not None and tier.price is not None:
            assert tier.price.input <= ask.max_price.input
    strong = made.virtual.tiers
    if ask.min_tier in strong:
        assert all(
            strong.index(tier.name) >= strong.index(ask.min_tier)
            for tier in made.options
            if tier.name in strong
        )


def test_from_a_body_to_a_plan():
    ask = read_ask(
        {"model": "gpt-4:floor", "models": ["gpt"], "provider": {"ignore": ["small"]}}, None, CATALOG
    )
    made = plan(ask)
    assert (names(made.options), chain(made)) == (["large"], ["hosted"])
