"""Names and values of other routers mean what they mean there."""

import pytest

from balancer.config import load
from balancer.config.aliases import ALIASES
from balancer.config.names import variable
from tests.config.given import REPLICAS, only, told, written

TRANSLATED = {
    "worker_urls": (["http://a"], "replicas", "http://a:80"),
    "static_backends": ("http://a, http://b", "replicas", "http://b:80"),
    "api_key": (["k"], "api_keys", "**"),
    "max_payload_size": ("5", "max_body_bytes", "5"),
    "routing_logic": ("prefixaware", "policy", "cache_aware"),
    "session_key": ("X-User", "session_headers", "x-user"),
    "retry_max_retries": ("4", "max_attempts", "5"),
    "health_check_interval_secs": ("60", "health_interval_s", "60"),
    "health_check_timeout_secs": ("6", "health_timeout_s", "6"),
    "engine_stats_interval": ("30", "metrics_interval_s", "30"),
}


def test_translations_cover_every_alias():
    assert TRANSLATED.keys() == {alias.name for alias in ALIASES}


@pytest.mark.parametrize("alias", TRANSLATED)
def test_aliases_stand_wherever_the_setting_may(alias, tmp_path):
    value, setting, holds = TRANSLATED[alias]
    base = {} if setting == "replicas" else REPLICAS
    text = value[0] if isinstance(value, list) else value
    for loaded in (
        load({**base, alias: value}, {}),
        load(base, {variable(alias): text}),
        load(base, {}, written(tmp_path, {alias: value})),
    ):
        assert holds in str(getattr(loaded.settings, setting))
        assert alias in loaded.origins[setting].replace("-", "_").lower() or "yaml" in loaded.origins[setting]


def test_values_of_other_routers():
    assert load(REPLICAS | {"policy": "consistent_hash"}, {}).settings.policy == "session"
    mistake = only(told(REPLICAS | {"routing_logic": "kvaware"}))
    assert (
        "expected roundrobin, session, prefixaware, loadaware, or one of ours as `policy`, given 'kvaware'"
        in mistake
    )


def test_an_alias_and_its_setting_must_agree():
    same = REPLICAS | {"max_payload_size": "5", "max_body_bytes": "5"}
    assert load(same, {}).settings.max_body_bytes == 5
    mistake = only(told(same | {"max_body_bytes": "6"}))
    assert "the same as --max-payload-size, since both set max_body_bytes" in mistake
    # Sources are another matter: the nearer one wins, whatever the names.
    assert (
        load(REPLICAS | {"max_payload_size": "5"}, {"BALANCER_MAX_BODY_BYTES": "6"}).settings.max_body_bytes
        == 5
    )


def test_static_models_go_with_static_backends():
    loaded = load({"static_backends": "http://a,http://b", "static_models": "m,n"}, {})
    assert [replica.models for replica in loaded.settings.replicas] == [("m",), ("n",)]
    uneven = {"static_backends": "http://a,http://b", "static_models": "m"}
    assert only(told(uneven)).startswith("static_models: expected one model for each of --static-backends")
    alone = REPLICAS | {"static_models": "m"}
    assert only(told(alone)).startswith("static_models: expected --static-backends beside it")
