"""Rules that can never match are warned of, and those that can are not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config import load
from balancer.config.build_tiering import make_rules
from balancer.config.never import _Logic, warnings
from balancer.config.report import warnings_of

SIGNALS = {
    "x": {"keywords": ["x"]},
    "y": {"keywords": ["y"]},
    "none": {"keywords": []},
    "few": {"domain": ["one"]},
    "de": {"language": "de"},
    "fr": {"language": ["fr", "es"]},
    "german": {"language": ["de", "nl"]},
    "short": {"length": {"max": 100}},
    "long": {"length": {"min": 101}},
    "very-long": {"length": {"min": 5000}},
    "empty": {"length": {"min": 9, "max": 3}},
    "bytes": {"length": {"max": 10, "unit": "bytes"}},
    "easy": {"complexity": "easy"},
    "medium": {"complexity": "medium"},
    "hard": {"complexity": "hard"},
    "night": {"time": {"from": "22:00", "to": "06:00"}},
    "late": {"time": {"from": "23:00", "to": "24:00"}},
    "noon": {"time": {"from": "11:00", "to": "13:00", "utc_offset": "+01:00"}},
    "monday": {"time": {"from": "00:00", "to": "24:00", "days": "mon"}},
    "tuesday": {"time": {"from": "00:00", "to": "24:00", "days": "tue"}},
    "a": {"tenant": "a"},
    "b": {"tenant": ["b", "c"]},
    "bad": {"feedback": "dissatisfied"},
}


def settings(decisions=(), **more):
    given_settings = {
        "tiers": {"small": {"model": "s"}, "large": {"model": "l"}},
        "virtual_models": {"auto": {"tiers": ["small", "large"], "strong_share": 0.3}},
        "signals": SIGNALS,
        "decisions": list(decisions),
    } | more
    flags = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in given_settings.items()
    }
    flags["decisions"] = [json.dumps(each) for each in given_settings["decisions"]]
    return load({"replicas": ["http://a"], **flags}, {}).settings


def rule(name, when, priority=0, **then):
    return {"name": name, "when": when, "priority": priority, "then": then or {"tier": "small"}}


def of_decisions(found):
    return [each for each in found if each.startswith("decision")]


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ({"all": ["x", {"not": "x"}]}, "its signals exclude each other"),
        ({"all": ["de", "fr"]}, "its signals exclude each other"),
        ({"all": ["de", {"not": "german"}]}, "its signals exclude each other"),
        ({"all": ["short", "very-long"]}, "its signals exclude each other"),
        ({"all": [{"not": "short"}, {"not": "long"}]}, "its signals exclude each other"),
        ({"all": ["easy", "hard"]}, "its signals exclude each other"),
        ({"all": ["night", "noon"]}, "its signals exclude each other"),
        ({"all": ["monday", "tuesday"]}, "its signals exclude each other"),
        ({"all": ["a", "b"]}, "its signals exclude each other"),
        ({"not": {"any": ["x", {"not": "x"}]}}, "its signals exclude each other"),
        ({"all": ["x", {"any": [{"all": ["de", "fr"]}, {"not": "x"}]}]}, "its signals exclude each other"),
        ("none", "signal `none` never holds"),
        ("few", "signal `few` never holds"),
        ("empty", "signal `empty` never holds"),
        ({"all": ["x", "empty"]}, "signal `empty` never holds"),
    ],
)
def test_conditions_that_nothing_satisfies(when, why):
    (warning,) = of_decisions(warnings(settings([rule("r", when)]), None))
    assert warning == f"decision `r` can never match: {why}"


@pytest.mark.parametrize(
    "when",
    [
        {"any": ["x", {"not": "x"}]},
        {"all": ["de", "german"]},
        {"all": ["long", "very-long"]},
        {"all": ["short", "bytes"]},
        {"all": [{"not": "easy"}, {"not": "medium"}, {"not": "hard"}]},
        {"all": [{"not": "de"}, {"not": "fr"}]},
        {"all": ["night", "late", "monday"]},
        {"all": ["night", "tuesday"]},
        {"all": ["x", "y", "a", "bad", "hard", "de"]},
        {"not": "none"},
        {"all": ["a", {"not": "b"}]},
    ],
)
def test_conditions_that_can_hold(when):
    assert of_decisions(warnings(settings([rule("r", when)]), None)) == []


@pytest.mark.parametrize(
    ("above", "below", "shadowed"),
    [
        ("x", {"all": ["x", "y"]}, True),
        ({"any": ["x", "y"]}, "x", True),
        ("german", "de", True),
        ("long", "very-long", True),
        ({"not": "short"}, "very-long", True),
        ("night", "late", True),
        ({"any": ["short", "long"]}, "short", True),
        ({"all": ["x", "y"]}, "x", False),
        ("de", "german", False),
        ("very-long", "long", False),
        ("x", "y", False),
    ],
)
def test_the_shadow_of_a_rule_that_goes_first(above, below, shadowed):
    rules = [rule("below", below, 1), rule("above", above, 2, deny="no")]
    expected = [
        "decision `below` can never match: `above` goes first, and matches whenever it would"
    ] * shadowed
    assert of_decisions(warnings(settings(rules), None)) == expected


def test_a_rule_that_lets_others_go_on_throws_no_shadow():
    rules = [rule("above", "x", 2, min_tier="large"), rule("below", "x", 1, deny="no")]
    assert of_decisions(warnings(settings(rules), None)) == []


def test_a_rule_that_is_passed_over_elsewhere_throws_no_shadow():
    virtuals = {"auto": {"tiers": ["small", "large"], "strong_share": 0.3}, "best": {"tiers": ["large"]}}
    rules = [rule("above", "x", 2, tier="small"), rule("below", "x", 1, tier="large")]
    assert of_decisions(warnings(settings(rules, virtual_models=virtuals), None)) == []
    assert len(of_decisions(warnings(settings(rules), None))) == 1


def test_tenants_that_nobody_can_be():
    made = settings([rule("r", "a")], tenants={"b": {"usd_per_day": 1}, "*": {"usd_per_day": 1}})
    assert of_decisions(warnings(made, ["z"])) == ["decision `r` can never match: signal `a` never holds"]
    assert [each for each in warnings(made, ["z"]) if each.startswith("tenant")] == [
        "tenant `b` is never known: no API key has that name, and there is no tenant_header"
    ]
    assert of_decisions(warnings(made, ["a", "b"])) == []
    assert of_decisions(warnings_of(made)) != []
    assert of_decisions(warnings_of(settings([rule("r", "a")], tenant_header="x-team"))) == []


def test_what_nobody_uses():
    tiers = {
        "small": {"model": "s"},
        "large": {"model": "l"},
        "lost": {"model": "o"},
        "aliased": {"model": "m"},
    }
    made = settings(
        [rule("r", "x", tier="lost")],
        tiers=tiers,
        virtual_models={"fast": {"tiers": ["small"], "strong_share": 0.5, "fallback": ["large"]}},
        model_aliases={"gpt-4": "m"},
        signals={"x": {"keywords": "x"}, "y": {"keywords": "y"}},
    )
    assert warnings(made, None) == [
        "decision `r` changes nothing: no virtual model has lost",
        "tier `lost` is named by no virtual model",
        "signal `y` is used by no decision",
        "virtual model `fast`: strong_share changes nothing, since there is one tier",
    ]


def test_nothing_to_say_of_nothing():
    assert warnings_of(load({"replicas": ["http://a"]}, {}).settings) == []


def test_a_condition_with_too_many_terms_is_left_alone():
    pairs = [{"any": ["x", "y"]}] * 12
    assert of_decisions(warnings(settings([rule("r", {"all": pairs})]), None)) == []


conditions = st.recursive(
    st.sampled_from(["x", "y", "de"]),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda each: {"all": each})
        | st.lists(inner, min_size=1, max_size=3).map(lambda each: {"any": each})
        | inner.map(lambda each: {"not": each})
    ),
    max_leaves=6,
)


@given(conditions, st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_terms_say_what_the_condition_says(when, values):
    holding = dict(zip(("x", "y", "de"), values, strict=True))
    rules = make_rules(settings([rule("r", when)]))
    terms = _Logic(rules.signals, None).terms(rules.decisions[0].when)
    by_terms = any(all(holding[name] == holds for name, holds in term) for term in terms)
    assert by_terms == rules.decisions[0].when.holds(holding.__getitem__)
