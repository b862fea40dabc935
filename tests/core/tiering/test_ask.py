"""What requests may say, in everybody's words, and what is refused by name."""

import json
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.errors import Refused
from balancer.core.tiering.ask import MAX_NAMES, read_ask
from balancer.core.tiering.catalog import Catalog
from balancer.core.tiering.types import Ask, Price, Sort
from tests.core.tiering.given_tiers import CATALOG

AUTO_ROUTER = {"id": "auto-router"}


def ask(header=None, **fields):
    return read_ask(fields, header, CATALOG)


@pytest.mark.parametrize(
    "model", ["q8", "l70", "m", "gpt", "small", "served-elsewhere", "served:floor", "router", ""]
)
def test_a_concrete_model_is_what_it_says(model):
    assert ask(model=model) is None
    assert ask(model=model, plugins=[{"id": "web"}], route="other") is None  # the replica's, not ours


@pytest.mark.parametrize(
    "fields", [None, [], "auto", 1, {}, {"model": 1}, {"model": None}, {"model": ["auto"]}]
)
def test_a_body_that_asks_for_nothing(fields):
    assert read_ask(fields, None, CATALOG) is None


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("auto", Ask("auto")),
        ("gpt-4", Ask("auto")),
        ("llama", Ask("l70")),
        ("big", Ask("large")),
        ("auto:floor", Ask("auto", sort=Sort.PRICE)),
        ("gpt-4o:nitro", Ask("auto", sort=Sort.THROUGHPUT)),
        ("m:floor", Ask("m", sort=Sort.PRICE)),
        ("m:nitro", Ask("m", sort=Sort.THROUGHPUT)),
        ("router-auto-0.7", Ask("auto", threshold=0.7)),
        ("router-prior-0.11593", Ask("auto", threshold=0.11593)),
        ("router-length-1", Ask("best", threshold=1.0)),
        ("router-best-0", Ask("best", threshold=0.0)),
    ],
)
def test_by_the_name_alone(model, expected):
    assert ask(model=model) == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("router-mf-0.5", "router-NAME-THRESHOLD, where NAME is one of auto, best, fast, length, prior"),
        ("router-", "router-NAME-THRESHOLD, where NAME is one of auto, best, fast, length, prior"),
        ("router-auto", "router-auto-THRESHOLD with a threshold in [0, 1]"),
        ("router-auto-x", "router-auto-THRESHOLD with a threshold in [0, 1]"),
        ("router-auto-1.5", "router-auto-THRESHOLD with a threshold in [0, 1]"),
        ("router-auto--0.5", "router-auto-THRESHOLD with a threshold in [0, 1]"),
        ("router-auto-nan", "router-auto-THRESHOLD with a threshold in [0, 1]"),
    ],
)
def test_routellms_form(model, expected):
    with pytest.raises(Refused) as caught:
        ask(model=model)
    assert (caught.value.status, caught.value.param) == (400, "model")
    assert caught.value.message == f"model: expected {expected}."


def test_without_virtual_models_routellms_form_is_a_name_like_others():
    assert read_ask({"model": "router-auto-2"}, None, Catalog()) is None


def test_fallback_lists():
    assert ask(model="auto", models=["large", "gpt-4o", "x"]) == Ask("auto", models=("large", "auto", "x"))
    assert ask(model="q8", models=["l70"], route="fallback") == Ask("q8", models=("l70",))
    assert ask(models=["llama", "q8"]) == Ask("l70", models=("q8",))
    assert ask(model="q8", models=[]) == Ask("q8")
    assert ask(model="q8", models=None, provider=None) is None


def test_provider_preferences():
    provider = {
        "order": ["large", "gpt"],
        "only": ["l70", "small"],
        "ignore": ["hosted"],
        "allow_fallbacks": False,
        "max_price": {"prompt": "1.5"},
        "sort": "latency",
    }
    assert ask(model="auto", provider=provider) == Ask(
        "auto",
        order=("large", "gpt"),
        only=frozenset({"large", "small"}),
        ignore=frozenset({"hosted"}),
        allow_fallbacks=False,
        max_price=Price(1.5, inf),
        sort=Sort.LATENCY,
    )
    assert ask(model="q8", provider={}) == Ask("q8")
    assert ask(model="auto:floor", provider={"sort": None}) == Ask("auto", sort=Sort.PRICE)
    assert ask(model="auto", models=["gpt"], provider={"only": ["hosted"]}).only == {"hosted"}


def test_the_auto_router_and_healing():
    plugins = [
        AUTO_ROUTER | {"allowed_models": ["l*"], "cost_quality_tradeoff": 3},
        {"id": "response-healing"},
    ]
    assert ask(model="auto", plugins=plugins) == Ask(
        "auto", threshold=0.3, only=frozenset({"large"}), heal=True
    )
    off = [
        AUTO_ROUTER | {"enabled": False, "cost_quality_tradeoff": 3},
        {"id": "response-healing", "enabled": False},
    ]
    assert ask(model="auto", plugins=off) == Ask("auto")


def test_two_ways_to_narrow_at_once():
    body = {"model": "auto", "provider": {"only": ["small", "large"]}}
    assert ask(**body, plugins=[AUTO_ROUTER | {"allowed_models": ["q*"]}]).only == {"small"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"models": "large"}, "models"),
        ({"models": [1]}, "models"),
        ({"models": [""]}, "models"),
        ({"models": ["x" * 257]}, "models"),
        ({"models": ["x"] * (MAX_NAMES + 1)}, "models"),
        ({"route": "sort"}, "route"),
        ({"route": ["fallback"]}, "route"),
        ({"provider": "openai"}, "provider"),
        ({"provider": {"quantizations": ["fp8"]}}, "provider.quantizations"),
        ({"provider": {"data_collection": None}}, "provider.data_collection"),
        ({"provider": {"order": "large"}}, "provider.order"),
        ({"provider": {"only": []}}, "provider.only"),
        ({"provider": {"only": ["pool-a"]}}, "provider.only"),
        ({"provider": {"ignore": {}}}, "provider.ignore"),
        ({"provider": {"allow_fallbacks": "no"}}, "provider.allow_fallbacks"),
        ({"provider": {"max_price": 3}}, "provider.max_price"),
        ({"provider": {"max_price": {"image": 1}}}, "provider.max_price.image"),
        ({"provider": {"max_price": {"prompt": -1}}}, "provider.max_price.prompt"),
        ({"provider": {"max_price": {"completion": True}}}, "provider.max_price.completion"),
        ({"provider": {"max_price": {"completion": "nan"}}}, "provider.max_price.completion"),
        ({"provider": {"max_price": {"completion": [1]}}}, "provider.max_price.completion"),
        ({"provider": {"sort": "quality"}}, "provider.sort"),
        ({"provider": {"sort": {"by": "price"}}}, "provider.sort"),
        ({"plugins": {"id": "auto-router"}}, "plugins"),
        ({"plugins": [{"id": "web"}]}, "plugins[0].id"),
        ({"plugins": ["auto-router"]}, "plugins[0].id"),
        ({"plugins": [{"id": ["auto-router"]}]}, "plugins[0].id"),
        ({"plugins": [AUTO_ROUTER | {"models": []}]}, "plugins[0].models"),
        ({"plugins": [AUTO_ROUTER | {"enabled": 1}]}, "plugins[0].enabled"),
        ({"plugins": [AUTO_ROUTER | {"cost_quality_tradeoff": 11}]}, "plugins[0].cost_quality_tradeoff"),
        ({"plugins": [AUTO_ROUTER | {"cost_quality_tradeoff": True}]}, "plugins[0].cost_quality_tradeoff"),
        ({"plugins": [AUTO_ROUTER | {"allowed_models": ["x*"]}]}, "plugins[0].allowed_models"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(fields, param):
    with pytest.raises(Refused) as caught:
        ask(model="auto", **fields)
    assert (caught.value.status, caught.value.param, caught.value.type) == (400, param, "BadRequestError")
    assert caught.value.message.startswith(f"{param}: expected ")


@pytest.mark.parametrize(
    ("header", "model", "expected"),
    [
        ("large", "auto", Ask("auto", only=frozenset({"large"}))),
        ("hosted", "auto", Ask("hosted")),  # not one of its tiers
        ("large", "q8", Ask("large")),
        ("large", None, Ask("large")),
        ("best", "auto", Ask("best")),
        (" gpt-4o ", "q8", Ask("auto")),
        ("auto:floor", "q8", Ask("auto", sort=Sort.PRICE)),
        ("l70", "auto", Ask("l70")),
        ("elsewhere", "auto", Ask("elsewhere")),
        (">=large", "auto", Ask("auto", min_tier="large")),
        (">= large", "auto:nitro", Ask("auto", sort=Sort.THROUGHPUT, min_tier="large")),
        (">=large", "q8", None),
        ("", "auto", Ask("auto")),
    ],
)
def test_the_header(header, model, expected):
    assert read_ask({} if model is None else {"model": model}, header, CATALOG) == expected


def test_a_least_tier_that_is_none():
    with pytest.raises(Refused) as caught:
        read_ask({"model": "auto"}, ">=huge", CATALOG, "x-tier")
    assert (caught.value.status, caught.value.param) == (400, "x-tier")
    assert "small, large, hosted" in caught.value.message


NAMES = ["auto", "l70", "gpt-4", "router-auto-0.5", "m:floor"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(NAMES) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["order", "only", "ignore", "sort", "max_price", "prompt", "id", "enabled", "allow_fallbacks"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["model", "models", "route", "provider", "plugins"]), json_values),
    st.none() | st.sampled_from([*NAMES, ">=large", ">=x"]) | st.text(max_size=6),
)
def test_anything_is_an_ask_or_refused_by_name(fields, header):
    try:
        found = read_ask(fields, header, CATALOG)
    except Refused as refused:
        assert refused.status == 400
        assert refused.param
        assert refused.message.startswith(refused.param)
        json.dumps(refused.message)
        return
    assert found is None or (found.name and hash(found) is not None)
