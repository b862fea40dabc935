"""What holds when several sources speak, and what is told when they are wrong."""

import json
from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from balancer.config import ConfigError, Settings, client_keys, load
from balancer.config.argv import Takes
from balancer.config.names import NAMES, flag, variable
from balancer.config.report import effective
from tests.config.given import REPLICAS, only, told, written

# For every setting: text for flag and variable, the same as YAML, and what then holds. No value is the default.
EXAMPLES = {
    "replicas": ("http://x:1", ["http://x:1"]),
    "replica_api_key": ("k1", "k1"),
    "host": ("127.0.0.1", "127.0.0.1"),
    "client_stall_timeout_s": ("7.5", 7.5),
    "retry_budget": ("0.5", 0.5),
    "total_timeout_s": ("90", 90.0),
    "resume": ("exact", "exact"),
    "resume_sampled": ("true", True),
    "port": ("9000", 9000),
    "max_body_bytes": ("10", 10),
    "max_header_bytes": ("11", 11),
    "client_keepalive_timeout_s": ("1.5", 1.5),
    "api_keys": ("k2", ["k2"]),
    "prometheus_port": ("9001", 9001),
    "prometheus_host": ("::1", "::1"),
    "request_id_headers": ("x-trace-id", ["x-trace-id"]),
    "event_loop": ("asyncio", "asyncio"),
    "ui": ("false", False),
    "reuse_port": ("true", True),
    "policy": ("random", "random"),
    "session_headers": ("x-s", ["x-s"]),
    "index_max_blocks": ("12", 12),
    "max_attempts": ("1", 1),
    "scale_out_routes": ("true", True),
    "connect_timeout_s": ("2", 2),
    "upstream_keepalive_s": ("3", 3),
    "first_byte_timeout_s": ("4", 4),
    "idle_timeout_s": ("6", 6),
    "health_probe": ("generate", "generate"),
    "ejection_s": ("16", 16),
    "max_ejection_s": ("17", 17),
    "stall_s": ("18", 18),
    "panic_threshold": ("0.3", 0.3),
    "warmup_s": ("19", 19),
    "health_interval_s": ("7", 7),
    "health_timeout_s": ("8", 8),
    "health_failure_threshold": ("9", 9),
    "health_success_threshold": ("10", 10),
    "metrics_interval_s": ("11", 11),
    "metrics_timeout_s": ("12", 12),
    "models_interval_s": ("13", 13),
    "drain_delay_s": ("14", 14),
    "drain_timeout_s": ("15", 15),
    "max_waiting": ("0", 0),
    "max_wait_s": ("16", 16),
    "max_in_flight_per_replica": ("17", 17),
    "overload_status": ("429", 429),
    "timeout_headers": ("X-Patience", ["x-patience"]),
    "tenant_header": ("X-Team", "x-team"),
    "config_watch_interval_s": ("16", 16),
    "admin_port": ("9002", 9002),
    "admin_host": ("::1", "::1"),
    "admin_api_key": ("k3", "k3"),
    "tiers": ('{"small": {"model": "m"}}', {"small": {"model": "m"}}),
    "virtual_models": ('{"none": {"tiers": ["t"]}}', {"none": {"tiers": ["t"]}}),
    "model_aliases": ('{"gpt-4o": "m"}', {"gpt-4o": "m"}),
    "signals": ('{"code": {"structure": "code"}}', {"code": {"structure": ["code"]}}),
    "decisions": (
        '{"name": "d", "when": "code", "then": {"deny": "no"}}',
        [{"name": "d", "when": "code", "then": {"deny": "no"}}],
    ),
    "tenants": ('{"a": {"usd_per_day": 5}}', {"a": {"usd_per_day": 5}}),
    "tier_header": ("X-Tier", "x-tier"),
    "gpus": ("off", "off"),
    "gpu_interval_s": ("3", 3),
    "log_level": ("DEBUG", "debug"),
    "log_format": ("json", "json"),
    "access_log": ("true", True),
    "receipts": ("12", 12),
    "journal": ("journal.bin", "journal.bin"),
    "journal_max_bytes": ("1000000", 1000000),
    "journal_keep": ("2", 2),
    "otlp_traces_endpoint": ("http://otel:4318", "http://otel:4318"),
    "trace_sample": ("0.25", 0.25),
    "decision_headers": ("false", False),
    "heal_json": ("true", True),
    "outcome_log": ("outcomes.db", "outcomes.db"),
    "outcome_log_max_rows": ("1000", 1000),
    "outcome_log_max_days": ("7", 7),
    "outcome_log_prompts": ("true", True),
}
NEEDS = {
    "virtual_models": {"tiers": '{"t": {"model": "m"}}'},
    "decisions": {"signals": '{"code": {"structure": "code"}}'},
}
"""What has to be there beside a setting."""
READ_FROM_DISK = {"ssl_certfile", "ssl_keyfile", "api_key_file"}


def test_examples_cover_every_setting():
    assert EXAMPLES.keys() | READ_FROM_DISK == Settings.model_fields.keys()


@pytest.mark.parametrize("setting", EXAMPLES)
def test_every_setting_is_a_flag_a_variable_and_a_key(setting, tmp_path):
    text, value = EXAMPLES[setting]
    base = ({} if setting == "replicas" else REPLICAS) | NEEDS.get(setting, {})
    many = NAMES[setting].takes is Takes.MANY
    ways = [
        load({**base, setting: [text] if many else text}, {}),
        load(base, {variable(setting): text}),
        load(base, {}, written(tmp_path, {setting: value})),
    ]
    assert [way.origins[setting] for way in ways] == [
        f"command line {flag(setting)}",
        f"environment {variable(setting)}",
        f"{tmp_path}/balancer.yaml:1",
    ]
    defaults = load({"replicas": ["http://default"]}, {})
    values = [getattr(way.settings, setting) for way in ways]
    assert values[0] == values[1] == values[2] != getattr(defaults.settings, setting)
    assert defaults.origins[setting] == ("command line --replicas" if setting == "replicas" else "default")


@given(
    st.sets(st.sampled_from(["flag", "environment", "file"])), st.sampled_from(["port", "max_payload_size"])
)
def test_the_nearest_source_wins(tmp_path_factory, sources, name):
    setting = NAMES[name].setting
    flags = {name: "1"} if "flag" in sources else {}
    environ = {variable(name): "2"} if "environment" in sources else {}
    path = written(tmp_path_factory.mktemp("config"), {setting: 3} if "file" in sources else {})
    loaded = load(REPLICAS | flags, environ, path)
    default = Settings.model_fields[setting].default
    order = [("flag", 1, "command line"), ("environment", 2, "environment"), ("file", 3, str(path))]
    value, origin = next(((v, o) for source, v, o in order if source in sources), (default, "default"))
    assert getattr(loaded.settings, setting) == value
    assert loaded.origins[setting].startswith(origin)


def test_the_variable_may_name_the_file(tmp_path):
    path = written(tmp_path, REPLICAS | {"port": 1})
    assert load({}, {"BALANCER_CONFIG": str(path)}).settings.port == 1


def test_variables_in_any_case_and_empty_ones():
    loaded = load(REPLICAS, {"balancer_port": "1", "BALANCER_HOST": "", "OTHER": "x"})
    assert (loaded.settings.port, loaded.settings.host) == (1, "0.0.0.0")


@pytest.mark.parametrize("text", ["a,b", "a b", " a, b ,", '["a", "b"]'])
def test_lists_in_the_environment(text):
    assert client_keys(load(REPLICAS, {"BALANCER_API_KEYS": text}).settings).keys() == {"a", "b"}


def test_a_key_of_digits_stays_text():
    assert client_keys(load(REPLICAS, {"BALANCER_API_KEYS": "123"}).settings).keys() == {"123"}


def test_variables_of_a_kubernetes_service_are_passed_over():
    environ = {
        "BALANCER_PORT": "tcp://10.0.0.1:80",
        "BALANCER_SERVICE_HOST": "10.0.0.1",
        "BALANCER_SERVICE_PORT": "80",
        "BALANCER_SERVICE_PORT_HTTP": "80",
        "BALANCER_PORT_80_TCP": "tcp://10.0.0.1:80",
        "BALANCER_PORT_80_TCP_ADDR": "10.0.0.1",
        "BALANCER_METRICS_PORT": "tcp://10.0.0.2:90",
        "BALANCER_METRICS_SERVICE_HOST": "10.0.0.2",
    }
    assert load(REPLICAS, environ).settings.port == 8080


def test_replicas_with_names_and_models():
    item = json.dumps({"url": "http://b", "name": "b", "models": ["m"]})
    for given_replicas in (
        load({"worker_urls": ["http://a/", item]}, {}),
        load({}, {"BALANCER_REPLICAS": f'["http://a/", {item}]'}),
    ):
        first, second = given_replicas.settings.replicas
        assert (first.url, first.name, first.models) == ("http://a:80", "a:80", None)
        assert (second.url, second.name, second.models) == ("http://b:80", "b", ("m",))


def test_all_mistakes_at_once_each_with_its_place(tmp_path):
    path = written(
        tmp_path,
        "replicas:\n"
        "  - http://gpu-a:8000\n"
        "  - url: gpu-b:8000\n"
        "  - {url: http://gpu-c, nmae: c}\n"
        "  - url: http://GPU-A:8000/\n"
        "port: yes\n"
        "drain_delay_s: -1\n"
        "prometheus_prot: 1\n"
        "ssl_certfile: /no/such/file\n",
    )
    found = told({"health_interval_s": "0"}, {"BALANCER_LOG_LEVEL": "loud", "BALANCER_PROT": "1"}, path)
    url = "a URL that begins with http:// or https://"
    levels = "debug, info, warning, error or critical"
    assert set(found) == {
        "prot: expected a known setting; the nearest is BALANCER_PORT (environment BALANCER_PROT)",
        f"prometheus_prot: expected a known setting; the nearest is prometheus_port ({path}:8)",
        f"replicas[1].url: expected {url}, given 'gpu-b:8000' ({path}:3)",
        f"replicas[2].nmae: expected a known key; the nearest is name ({path}:4)",
        f"replicas[3].url: expected another URL than that of replicas[0] ({path}:5)",
        f"port: expected a number, not true or false, given True ({path}:6)",
        f"drain_delay_s: expected seconds, at least 0, given -1 ({path}:7)",
        "health_interval_s: expected seconds, above 0, given '0' (command line --health-interval-s)",
        f"log_level: expected {levels}, given 'loud' (environment BALANCER_LOG_LEVEL)",
        "ssl_keyfile: expected a file path, since ssl_certfile is set (not set)",
        f"ssl_certfile: expected a readable file: No such file or directory, given '/no/such/file' ({path}:9)",
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("port: 1\nhost: [", "balancer.yaml:2:8"),
        ("port: 1\n\thost: x", "balancer.yaml:2:1"),
        (
            "port: 1\nhost: x\nport: 2\n",
            "`port` stands here and in line 1 (",
        ),
        ("replicas:\n- {url: http://a, url: http://b}\n", "balancer.yaml:2:19"),
        ("- port\n", "a mapping of settings"),
        ("port: 1\n---\nport: 2\n", "balancer.yaml:2:1"),
        ("port: \x01\n", "balancer.yaml:1"),
        ("a: !!python/object:os.system {}\n", "balancer.yaml:1:4"),
        ("a: 2026-99-99\n", "valid YAML"),
        ("[" * 5000, "less deeply nested"),
        ("? [a]\n: 1\n", "balancer.yaml:1:3"),
        ("reuse_port: !!bool maybe\n", "fit their tags"),
        ("a: !!timestamp soon\n", "fit their tags"),
        ("port: !!int ''\n", "fit their tags"),
    ],
)
def test_a_file_that_is_not_yaml_of_settings(tmp_path, content, said):
    mistake = only(told(file=written(tmp_path, content)))
    assert mistake.startswith("config: expected ")
    assert said in mistake


def test_a_file_that_cannot_be_read(tmp_path):
    assert "No such file or directory" in only(told(file=tmp_path / "none.yaml"))
    assert "Is a directory" in only(told(file=tmp_path))
    assert "readable file" in only(told(file=""))
    (tmp_path / "latin.yaml").write_bytes(b"host: \xe9")
    assert "UTF-8" in only(told(file=tmp_path / "latin.yaml"))
    # What such a file would have said is unknown; what the other sources say is judged still.
    assert len(told({"port": "x"}, {"BALANCER_SSL_CERTFILE": __file__}, tmp_path)) == 2


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_no_mistake(tmp_path, content):
    assert load(REPLICAS, {}, written(tmp_path, content)).settings.port == 8080


@given(st.text(max_size=60))
def test_any_file_is_settings_or_mistakes(tmp_path_factory, text):
    with suppress(ConfigError):
        load({}, {}, written(tmp_path_factory.mktemp("any"), text.encode("utf-8", "replace").decode()))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(NAMES)), anything, max_size=5))
def test_any_values_are_settings_or_mistakes(tmp_path_factory, content):
    with suppress(ConfigError):
        load({}, {}, written(tmp_path_factory.mktemp("any"), content))


def test_no_replicas():
    assert only(told()).startswith(
        "replicas: expected a list of replica URLs, not empty; for example --worker-urls "
    )
    assert only(told({"replicas": []})).startswith("replicas: ")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"ssl_certfile": __file__}, "ssl_keyfile: expected a file path, since ssl_certfile is set"),
        ({"ssl_keyfile": __file__}, "ssl_certfile: expected a file path, since ssl_keyfile is set"),
        (
            {"outcome_log": "/no/such/x.db"},
            "outcome_log: expected a file in a folder that is there, given '/no/such/x.db'",
        ),
        ({"port": "81", "prometheus_port": "81"}, "prometheus_port: expected another port than `port`"),
        ({"port": "65536"}, "port: expected a port, at least 0 and at most 65535"),
        ({"upstream_keepalive_s": "5"}, "upstream_keepalive_s: expected seconds, at least 0 and below 5"),
        ({"request_id_headers": ["x id"]}, "request_id_headers[0]: expected a header name"),
        ({"idle_timeout_s": "nan"}, "idle_timeout_s: expected seconds, above 0"),
        ({"access_log": "often"}, "access_log: expected true or false"),
    ],
)
def test_wrong_values(flags, said):
    assert said in only(told(REPLICAS | flags))


def test_both_ports_may_be_any_free_one():
    assert load(REPLICAS | {"port": "0", "prometheus_port": "0"}, {}).settings.prometheus_port == 0


def test_a_wrong_value_hides_no_contradiction_and_makes_none():
    assert len(told(REPLICAS | {"port": "x", "ssl_certfile": __file__})) == 2
    assert only(told(REPLICAS | {"port": "x", "prometheus_port": "8080"})).startswith("port: ")
    assert only(told(REPLICAS | {"ssl_certfile": "", "ssl_keyfile": __file__})).startswith("ssl_certfile: ")


def test_names_of_replicas_are_unique():
    flags = {"replicas": ['{"url": "http://a", "name": "r"}', '{"url": "http://b", "name": "r"}']}
    assert only(told(flags)).startswith("replicas[1].name: expected another name than that of replicas[0]")


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "flags",
    [
        {"replicas": [f"http://user:{SECRET}@gpu"]},
        {"replicas": [f"http://user:{SECRET}/x@gpu"]},
        {"replicas": [f"user:{SECRET}@gpu:8000"]},
        {"replicas": [f"http://gpu/?key={SECRET}"]},
        {"replicas": [f'{{"url": "http://u:{SECRET}@gpu"}}']},
        {"replicas": [f'{{"urk": "http://u:{SECRET}@gpu"}}']},
        {"replicas": [f'["http://u:{SECRET}@gpu"]']},
        REPLICAS | {"api_keys": [f"{SECRET} {SECRET}"]},
        REPLICAS | {"api_keys": [SECRET], "api_key": ["other"]},
        REPLICAS | {"replica_api_key": f"{SECRET}é"},
        REPLICAS | {"api_kyes": SECRET},
    ],
)
def test_mistakes_never_repeat_a_secret(flags):
    assert SECRET not in "".join(told(flags))


def test_the_settings_that_hold_are_printed_with_masked_secrets():
    loaded = load(REPLICAS | {"api_key": [SECRET], "replica_api_key": SECRET}, {"BALANCER_PORT": "1"})
    text = effective(loaded)
    assert SECRET not in text
    assert SECRET not in repr(loaded)
    assert "# command line --api-key\n" in text
    assert "port: 1                                       # environment BALANCER_PORT\n" in text
    content = yaml.safe_load(text)
    assert content.keys() == Settings.model_fields.keys()
    assert content["replicas"] == [
        {
            "url": "http://gpu-a:8000",
            "name": "gpu-a:8000",
            "models": None,
            "max_in_flight": None,
            "drain": False,
            "gpus": None,
            "gpu_agent": None,
            "dcgm": None,
        }
    ]


def test_keys_from_a_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text("# clients\nk1==\n\n  team a: k:2=  \nb:\tk4\n", encoding="utf-8")
    keys = client_keys(load(REPLICAS | {"api_key_file": str(path), "api_keys": ["k3", "k4"]}, {}).settings)
    assert keys == {"k1==": keys["k1=="], "k:2=": "team a", "k3": keys["k3"], "k4": "b"}
    assert len({*keys.values()}) == 4
    assert not any(key in name for key, name in keys.items())
    for wrong in (": k", "a k", "a: k k", "a: ", f"{'n' * 129}: k"):
        path.write_text(f"k1\n{wrong}\n", encoding="utf-8")
        assert "line 2 is not" in only(told(REPLICAS | {"api_key_file": str(path)})), wrong
    path.write_text(f"k1\n{SECRET} 2\n", encoding="utf-8")
    mistake = only(told(REPLICAS | {"api_key_file": str(path)}))
    assert "line 2 is not" in mistake
    assert SECRET not in mistake
    path.write_text("# none\n", encoding="utf-8")
    assert "at least one key" in only(told(REPLICAS | {"api_key_file": str(path)}))


@pytest.mark.parametrize(
    ("replica", "expected"),
    [
        (
            {"gpus": ["first"]},
            "replicas[0].gpus[0]: expected the index of a GPU, or a UUID that begins with GPU- or MIG-",
        ),
        (
            {"gpus": [-1]},
            "replicas[0].gpus[0]: expected the index of a GPU, or a UUID that begins with GPU- or MIG-",
        ),
        ({"gpus": [True]}, "replicas[0].gpus[0]: expected a GPU"),
        (
            {"gpu_agent": "gpu-a:9401"},
            "replicas[0].gpu_agent: expected a URL that begins with http:// or https://",
        ),
        (
            {"dcgm": "http://gpu-a:9400"},
            "replicas[0].gpus: expected its GPUs, since `dcgm` tells of no processes",
        ),
        (
            {"dcgm": "http://gpu-a:9400", "gpu_agent": "http://gpu-a:9401", "gpus": [0]},
            "replicas[0].dcgm: expected `dcgm` or `gpu_agent`, not both",
        ),
    ],
)
def test_gpus_of_replicas_that_are_wrong(replica, expected, tmp_path):
    path = written(tmp_path, {"replicas": [{"url": "http://gpu-a:8000", **replica}]})
    assert only(told(file=path)).startswith(expected)


def test_gpus_of_replicas(tmp_path):
    given = {"url": "http://gpu-a:8000", "gpus": [0, "GPU-0f", "MIG-1"], "gpu_agent": "http://gpu-a:9401/"}
    (replica,) = load({}, {}, written(tmp_path, {"replicas": [given]})).settings.replicas
    assert (replica.gpus, replica.gpu_agent) == (("0", "GPU-0f", "MIG-1"), "http://gpu-a:9401")
    for one in (3, "3", "GPU-0f"):
        path = written(tmp_path, {"replicas": [{"url": "http://a", "gpus": one}]})
        assert load({}, {}, path).settings.replicas[0].gpus == (str(one),)


@pytest.mark.parametrize("value", [False, "off"])
def test_gpus_off_is_no_boolean(value, tmp_path):
    assert load({}, {}, written(tmp_path, {**REPLICAS, "gpus": value})).settings.gpus == "off"
