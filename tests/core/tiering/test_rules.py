"""Hard rules keep out what cannot or may not serve; decisions prefer, and never leave nobody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.errors import Refused
from balancer.core.tiering.budget import TenantPolicy
from balancer.core.tiering.catalog import Catalog
from balancer.core.tiering.rules import ANSWER_TOKENS, Condition, DecisionRule, Rules
from balancer.core.tiering.signals import Complexity, Length, keywords
from balancer.core.tiering.types import Abilities, Ask, Price, StrongShare, Text, Tier, VirtualModel
from tests.core.tiering.given_tiers import TIERS, Fixed, chain, names, plan, planner

ALL = VirtualModel("all", ("small", "large", "hosted"), StrongShare(0.3), "hosted")


def of(*abilities, external=False, price=None):
    """Tiers t0, t1, ... with these abilities, behind `v`."""
    tiers = [
        Tier(f"t{n}", f"m{n}", abilities=each, external=external, price=price)
        for n, each in enumerate(abilities)
    ]
    virtual = VirtualModel("v", tuple(tier.name for tier in tiers), StrongShare(0.3), tiers[-1].name)
    return planner(Catalog(tiers, [virtual]))


NEEDS = {
    "images": Text("look", 4, images=1),
    "audio": Text("hear", 4, audio=2),
    "tools": Text("call", 4, tools=3),
    "structured": Text("say", 4, structured=True),
}


@pytest.mark.parametrize("ability", NEEDS)
def test_what_a_model_cannot(ability):
    asked = of(Abilities(**{ability: False}), Abilities(**{ability: True}), Abilities())
    made = plan("v", NEEDS[ability], of=asked)
    assert (names(made.options), made.rule, made.forced) == (["t1", "t2"], ability, "")
    assert names(plan("v", Text("plain", 5), of=asked).options) == ["t0", "t1", "t2"]


@pytest.mark.parametrize(
    ("ability", "said"),
    [*zip(NEEDS, ["its images", "its audio", "its tools", "the structured"], strict=True)],
)
def test_nobody_can(ability, said):
    with pytest.raises(Refused) as caught:
        plan("v", NEEDS[ability], of=of(Abilities(**{ability: False})))
    assert (caught.value.status, caught.value.type) == (400, "BadRequestError")
    assert caught.value.message.startswith(f"No tier that may serve this request can, for {said}")


def test_languages():
    asked = of(
        Abilities(languages=frozenset({"en"})), Abilities(languages=frozenset({"en", "de"})), Abilities()
    )
    german = Text("Was ist das und wie geht es dir?", 30)
    made = plan("v", german, of=asked)
    assert (names(made.options), made.rule) == (["t1", "t2"], "language")
    assert len(plan("v", Text("42", 2), of=asked).options) == 3  # nobody knows in which language
    with pytest.raises(Refused, match="its language, `de`"):
        plan("v", german, of=of(Abilities(languages=frozenset({"en"}))))


def window(*contexts):
    return of(*(Abilities(context_tokens=each) for each in contexts))


@pytest.mark.parametrize(
    ("tokens", "answer", "left"),
    [
        (500, None, ["t0", "t1"]),
        (2000 - ANSWER_TOKENS // 2, None, ["t1"]),  # a fair answer has room there alone
        (990, 10, ["t0", "t1"]),
        (990, 11, ["t1"]),
        (
            8000 - ANSWER_TOKENS + 1,
            None,
            ["t1"],
        ),  # nowhere room for a fair answer: what asked for none is met
        (8001, None, ["t1"]),  # by estimate too long: its engine counts
    ],
)
def test_the_context(tokens, answer, left):
    text = Text("x", 1, answer_tokens=answer)
    assert (
        names(plan("v", text, of=window(2000 if answer is None else 1000, 8000), tokens=tokens).options)
        == left
    )


def test_what_replicas_tell_of_their_context_and_what_nobody_tells():
    asked = window(None, None, None)
    made = plan("v", of=asked, tokens=5000, contexts={"t0": 4096, "t1": 8192, "t2": None})
    assert (names(made.options), made.rule) == (["t1", "t2"], "context")
    assert len(plan("v", of=asked, tokens=10**9).options) == 3


def test_a_prompt_that_is_surely_too_long():
    with pytest.raises(Refused) as caught:
        plan("v", of=window(1000, 8000), tokens=17_000)
    assert (caught.value.status, caught.value.code, caught.value.param) == (
        400,
        "context_length_exceeded",
        "messages",
    )
    with pytest.raises(Refused):
        plan("v", Text("x", 1, answer_tokens=9000), of=window(1000, 8000), tokens=10)


def test_prices():
    cheap, dear = Price(1.0, 2.0), Price(3.0, 2.0)
    tiers = [
        Tier("free", "f"),
        Tier("cheap", "c", price=cheap),
        Tier("dear", "d", price=dear),
        Tier("e", "e", external=True),
    ]
    virtual = VirtualModel("v", tuple(t.name for t in tiers), StrongShare(0.3), "e")
    asked = planner(Catalog(tiers, [virtual]))
    made = plan(Ask("v", max_price=Price(1.0, 2.0)), of=asked)
    assert (names(made.options), made.rule) == (["free", "cheap"], "max_price")
    dearer = planner(
        Catalog(tiers, [virtual]), price_of=lambda tier: dear if tier.name == "free" else tier.price
    )
    assert names(plan(Ask("v", max_price=Price(1.0, 2.0)), of=dearer).options) == ["cheap"]


def test_what_the_request_allows():
    asked = planner(Catalog(TIERS, [ALL]))
    assert names(plan(Ask("all", only=frozenset({"hosted", "small"})), of=asked).options) == [
        "small",
        "hosted",
    ]
    assert names(plan(Ask("all", ignore=frozenset({"l70", "hosted"})), of=asked).options) == ["small"]
    assert names(plan(Ask("all", min_tier="large"), of=asked).options) == ["large", "hosted"]
    for ask, param in (
        (Ask("all", ignore=frozenset({"small", "large", "gpt"})), "provider.ignore"),
        (Ask("all", only=frozenset({"pool-a"})), "model"),
        (Ask("all", min_tier="pool-a"), "model"),
    ):
        with pytest.raises(Refused) as caught:
            plan(ask, of=asked)
        assert (caught.value.status, caught.value.param) == (400, param)


def tenants(**policies):
    return planner(Catalog(TIERS, [ALL]), policies=policies)


def test_a_tenants_tiers():
    asked = tenants(a=TenantPolicy(frozenset({"small", "hosted"})), b=TenantPolicy(min_tier="large"))
    assert names(plan("all", of=asked, tenant="a").options) == ["small", "hosted"]
    assert names(plan("all", of=asked, tenant="b").options) == ["large", "hosted"]
    assert names(plan("all", of=asked, tenant="c").options) == ["small", "large", "hosted"]
    with pytest.raises(Refused) as caught:
        plan(Ask("all", only=frozenset({"large"})), of=asked, tenant="a")
    assert (caught.value.status, caught.value.param) == (403, "model")


def test_a_tenant_is_kept_out_of_fallbacks_too():
    asked = planner(policies={"a": TenantPolicy(frozenset({"small", "large"}))})
    assert chain(plan(of=asked, tenant="a")) == []
    assert chain(plan(of=asked, tenant="b")) == ["hosted"]


def test_a_budget_that_is_spent():
    asked = tenants(a=TenantPolicy(usd_per_day=1.0), b=TenantPolicy(usd_per_day=1.0, weakest_when_spent=True))
    assert len(plan("all", of=asked, tenant="a").options) == 3
    for tenant in "ab":
        asked.budget.spend(tenant, 1.0, 80_000.0)
    with pytest.raises(Refused) as caught:
        plan("all", of=asked, tenant="a", wall_s=80_000.0)
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (
        429,
        "insufficient_quota",
        6400,
    )
    made = plan(Ask("all", models=("hosted",)), of=asked, tenant="b", wall_s=80_000.0)
    assert (names(made.options), made.rule, made.forced, chain(made)) == (["small"], "budget", "rule", [])
    assert len(plan("all", of=asked, tenant="a", wall_s=86_400.0).options) == 3


def test_policies_hold_for_concrete_models():
    asked = tenants(a=TenantPolicy(frozenset({"small"})), b=TenantPolicy(usd_per_day=0.0), c=TenantPolicy())
    asked.guard("q8", tenant="a", wall_s=0.0)
    asked.guard("anything", tenant="c", wall_s=0.0)
    asked.guard(None, tenant="z", wall_s=0.0)
    for tenant, model, status in (
        ("a", "l70", 403),
        ("a", "elsewhere", 403),
        ("a", None, 403),
        ("b", "q8", 429),
    ):
        with pytest.raises(Refused) as caught:
            asked.guard(model, tenant=tenant, wall_s=0.0)
        assert caught.value.status == status
    planner().guard("anything", tenant="a", wall_s=0.0)


SIGNALS = {
    "x": keywords(["x"]),
    "y": keywords(["y"]),
    "long": Length(1000, tokens=True),
    "hard": Complexity(0.7, 1.0),
}


def decided(*rules, said="x", classifier=None, tokens=100, ask="auto"):
    asked = planner(rules=Rules(SIGNALS, rules), classifier=classifier)
    return plan(ask, Text(said, len(said)), of=asked, tokens=tokens)


def when(signal="x", **more):
    return Condition(signal, **more)


@pytest.mark.parametrize(
    ("rule", "left", "forced"),
    [
        (DecisionRule("r", when(), tiers=("large",)), ["large"], "rule"),
        (DecisionRule("r", when(), tiers=("large", "small")), ["small", "large"], ""),
        (DecisionRule("r", when(), min_tier="large"), ["large"], "rule"),
        (DecisionRule("r", when("y"), tiers=("large",)), ["small", "large"], ""),
        (DecisionRule("r", when(), tiers=("pool-a",)), ["small", "large"], ""),  # not one of its tiers
        (DecisionRule("r", when(), min_tier="hosted"), ["small", "large"], ""),
        (DecisionRule("r", when("long"), tiers=("large",)), ["small", "large"], ""),
    ],
)
def test_a_decision(rule, left, forced):
    made = decided(rule)
    assert (names(made.options), made.forced) == (left, forced)
    assert made.rule == ("r" if forced else "")
    assert (made.score is None) == bool(forced)


def test_a_decision_that_denies():
    with pytest.raises(Refused) as caught:
        decided(DecisionRule("r", when(), deny="not here"))
    assert (caught.value.status, caught.value.message) == (403, "not here")
    assert decided(DecisionRule("r", when("y"), deny="not here")).rule == ""


def test_the_highest_priority_goes_first_and_a_final_one_ends_it():
    low, high = (
        DecisionRule("low", when(), 1, tiers=("small",)),
        DecisionRule("high", when(), 2, tiers=("large",)),
    )
    assert decided(low, high).rule == "high"
    least = DecisionRule("least", when(), 3, min_tier="large")
    made = decided(low, least)  # the one below would leave nobody, and is passed over
    assert (names(made.options), made.rule) == (["large"], "least")
    assert (
        decided(DecisionRule("a", when(), tiers=("small",)), DecisionRule("b", when(), tiers=("large",))).rule
        == "a"
    )


def test_what_the_hard_rules_left_cannot_be_brought_back():
    asked = planner(rules=Rules(SIGNALS, (DecisionRule("r", when(), tiers=("small",)),)))
    made = plan(Ask("auto", only=frozenset({"large"})), Text("x", 1), of=asked)
    assert (names(made.options), made.rule, made.forced) == (["large"], "only", "asked")


def test_decisions_are_for_virtual_models():
    assert decided(DecisionRule("r", when(), deny="no"), ask="l70").forced == "asked"


def test_a_rule_that_asks_for_complexity_asks_the_classifier_once():
    classifier = Fixed(0.9)
    made = decided(DecisionRule("r", when("hard"), tiers=("large",)), classifier=classifier)
    assert (made.rule, classifier.asked, made.score.value) == ("r", 1, 0.9)
    decided(DecisionRule("r", when("y"), tiers=("large",)), classifier=classifier)
    assert classifier.asked == 2


conditions = st.recursive(
    st.sampled_from("abc").map(Condition),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: Condition(all=tuple(each)))
        | st.lists(inner, max_size=3).map(lambda each: Condition(any=tuple(each)))
        | inner.map(lambda each: Condition(none=each))
    ),
)


@given(conditions, st.fixed_dictionaries({name: st.booleans() for name in "abc"}))
def test_conditions_are_logic(condition, values):
    def truth(one):
        if one.all is not None:
            return all(map(truth, one.all))
        if one.any is not None:
            return any(map(truth, one.any))
        return not truth(one.none) if one.none is not None else values[one.signal]

    assert condition.holds(values.__getitem__) == truth(condition)
