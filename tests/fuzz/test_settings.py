"""Whatever file, environment and flags say, there are settings or a ConfigError that tells of all mistakes: nothing else is
raised, and no secret is repeated.
"""

from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from balancer.config import ConfigError, Settings, client_keys, load
from balancer.config.build_tiering import make_tiering
from balancer.config.names import NAMES
from balancer.config.report import effective, warnings_of
from tests.config.test_config_load import EXAMPLES, anything
from tests.fuzz.mutations import mutated

YAML = [
    b"replicas:\n- http://gpu-a:8000\n- url: http://gpu-b:8000\n  name: b\n  models: [m, n]\nport: 9000\n",
    b"# a comment\nreplicas: [http://a]\npolicy: cache_aware\napi_keys: &k [s3cr3t]\ndrain_delay_s: 1.5\nresume: exact\n",
    b"static_backends: http://a,http://b\nstatic_models: m,n\nrouting_logic: roundrobin\n<<: {host: 127.0.0.1}\n",
    (
        b"replicas: http://a\ntiers: {s: {model: m}, l: {model: n, url: https://b/v1, can: {languages: [no]}}}\nvirtual_models:\n"
        b"  auto: {tiers: [s, l], threshold: 0.5, fallback: [{to: l, on: failing}], experiment: {name: t, arms: {a: 0, b: 1}}}\n"
        b"model_aliases: {x: auto}\nsignals: {n: {time: {from: 22:00, to: 6:00}}, r: {regex: 'a+b'}, k: {keywords: [no, on]}}\n"
        b"decisions: [{name: d, when: {all: [n, {not: k}, {any: [r]}]}, then: {min_tier: l}}]\ntenants: {'*': {tiers: s}}\n"
    ),
    b"{replicas: ['http://a'], log_level: debug, ssl_certfile: /no, reuse_port: yes, request_id_headers: x-a}\n",
]
ODD = (
    b"!!int x", b"!!float x", b"!!bool x", b"!!timestamp 9999-99-99", b"!!binary x", b"!!set {a}", b"!!omap [a]",
    b"!!python/name:os", b"&a [*a]", b"&a {b: *a}", b"*a", b"? [a]\n: b", b"? {a: b}\n: c", b"<<: [1]", b"<<: *a",
    b"2026-02-30", b"1_0", b"0o9", b"1:99:1", b".inf", b".nan", b"~", b"---\n", b"...\n", b"%YAML 9.9\n---\n", b"%TAG ! x\n",
    b"\t", b"- - - -", b"|\n x", b">-\n", b"'", b'"\\x"', b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xc2\x85", b"1" * 5000,
    b"[" * 1100, b"{a: " * 400, b"replicas: ", b"\nport: ",
)  # fmt: skip
FILE = st.one_of(
    mutated(YAML, most=6),
    st.tuples(st.sampled_from(YAML), st.integers(0, 200), st.sampled_from(ODD)).map(
        lambda drawn: drawn[0][: drawn[1]] + drawn[2] + drawn[0][drawn[1] :]
    ),
    st.tuples(st.sampled_from(sorted(NAMES)), st.sampled_from(ODD)).map(
        lambda drawn: drawn[0].encode() + b": " + drawn[1]
    ),
    st.binary(max_size=40),
)
NAME = st.sampled_from(sorted(NAMES)) | st.text(max_size=8)
WORD = st.one_of(
    st.sampled_from([text for text, _ in EXAMPLES.values()]),
    st.sampled_from(
        [
            "http://[::1",
            "http://a:99999",
            "http://a b",
            "[",
            "{",
            '["a"',
            '{"url": 5}',
            "nan",
            "1e999",
            "\x00",
            "\ud800",
        ]
    ),
    st.text(max_size=12),
)
ENVIRONMENT = st.dictionaries(NAME.map(lambda name: f"BALANCER_{name.upper()}"), WORD, max_size=4)
FLAGS = st.dictionaries(st.sampled_from(sorted(NAMES)), WORD | st.lists(WORD, max_size=3), max_size=4)


def loaded(tmp_path_factory, flags, environ, raw):
    path = None
    if raw is not None:
        path = tmp_path_factory.mktemp("settings") / "balancer.yaml"
        path.write_bytes(raw)
    try:
        found = load(flags, environ, path)
    except ConfigError as error:
        assert error.mistakes
        for mistake in error.mistakes:
            assert mistake.expected
            assert "s3cr3t" not in str(mistake)
        return
    assert isinstance(found.settings, Settings)
    assert found.settings.replicas
    with suppress(OSError, ValueError):  # a file of keys that is not there
        client_keys(found.settings)
    effective(found)
    warnings_of(found.settings)
    make_tiering(found.settings, environ)


@given(FILE)
@example(b"api_keys: [s3cr3t]\nport: x\n")
def test_a_file_of_any_bytes(tmp_path_factory, raw):
    loaded(tmp_path_factory, {}, {}, raw)


@given(FLAGS, ENVIRONMENT, st.none() | st.sampled_from(YAML))
def test_flags_and_variables_of_any_text(tmp_path_factory, flags, environ, raw):
    loaded(tmp_path_factory, flags, environ, raw)


@given(st.sampled_from(sorted(NAMES)), anything)
def test_a_flag_of_any_value(tmp_path_factory, name, value):
    loaded(tmp_path_factory, {name: value}, {}, None)
