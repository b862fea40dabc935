"""Tiers, virtual models and rules in the settings: what holds, what is a mistake and where, and what is built of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config import ConfigError, load
from balancer.config.build_tiering import make_tiering
from balancer.config.reload import files
from balancer.config.report import effective
from balancer.config.tiering_rules import KINDS
from balancer.core.tiering.budget import TenantPolicy
from balancer.core.tiering.signals import Length, Structure, TimeOfDay
from balancer.core.tiering.types import Canary, Fallback, Price, QualityFloor, StrongShare, Threshold, Trouble
from balancer.learning.files import save
from tests.config.given import only, told, written
from tests.config.test_classifiers import NEAR, NEAR_ARRAYS
from tests.learning.test_files import ARRAYS, metadata

BASE = """\
replicas: [http://10.0.0.1:8000, http://10.0.0.2:8000]
tiers:
  small: {model: Qwen/Qwen3-8B, usd_per_mtok: {input: 0.05, output: 0.2, cached_input: 0.01}}
  large: {model: meta-llama/Llama-3.3-70B, replicas: [10.0.0.2:8000], replica_usd_per_hour: 12}
  hosted:
    model: gpt-5.2
    url: https://api.example.com/v1
    api_key_env: HOSTED_API_KEY
    requests_per_minute: 600
    can: {images: true, tools: false, languages: [en, no], context_tokens: 200000}
  small-v2: {model: Qwen/Qwen4-8B}
virtual_models:
  auto:
    tiers: [small, large]
    strong_share: 0.3
    fallback: [{to: hosted, on: [saturated, failing]}, small-v2]
    canary: {to: small-v2, share: 0.05, instead_of: small}
  fast: {tiers: small}
  best: {tiers: [large, hosted], threshold: 0.7, default: large, sticky: false, explore: 0.03}
  tried:
    tiers: [small, large]
    quality_floor: 0.95
    experiment: {name: b, arms: {as-it-is: 0.5, other: {share: 0.5, tiers: [small, hosted], strong_share: 0.2}}}
model_aliases: {gpt-4o: auto, gpt-4: gpt-4o}
signals:
  night: {time: {from: 22:00, to: 06:30, days: [mon, sun], utc_offset: -5}}
  code: {structure: [code, table]}
  long: {length: {min: 4000}}
decisions:
  - name: code
    priority: 10
    when: {all: [code, {not: night}]}
    then: {min_tier: large}
tenants:
  a: {tiers: [small], usd_per_day: 10}
  "*": {usd_per_day: 1, when_spent: weakest}
"""
TROUBLES = "saturated, failing, context, limited or timeout"
TAKEN = "another name than that of a tier's model: who asks for a model by its name gets it"
A_NAME = "a name of at most 64 letters, digits and `._/@-`, which does not begin with `router-` or a sign"
KEY = {"HOSTED_API_KEY": "k"}


def built(tmp_path, text=BASE):
    return make_tiering(load({}, KEY, written(tmp_path, text)).settings, KEY)


def test_what_is_built(tmp_path):
    made = built(tmp_path)
    tiers, virtuals = made.catalog.tiers, made.catalog.virtuals
    assert tiers["small"].price == Price(0.05, 0.2, 0.01)
    assert (tiers["small"].replicas, tiers["large"].replicas) == (None, {"10.0.0.2:8000"})
    assert tiers["large"].replica_usd_per_hour == 12
    assert tiers["hosted"].external
    assert tiers["hosted"].replicas == {"hosted"}
    assert tiers["hosted"].abilities.languages == {"en", "no"}
    assert (tiers["hosted"].abilities.tools, tiers["hosted"].abilities.audio) == (False, None)
    auto, best = virtuals["auto"], virtuals["best"]
    assert (auto.target, auto.default, auto.classifier) == (StrongShare(0.3), "large", "prior")
    assert auto.fallbacks == (
        Fallback("hosted", frozenset({Trouble.SATURATED, Trouble.FAILING})),
        Fallback("small-v2", frozenset(Trouble)),
    )
    assert auto.canary == Canary("small-v2", 0.05, "small")
    assert (best.target, best.default, best.sticky, best.explore) == (Threshold(0.7), "large", False, 0.03)
    assert made.catalog.resolved("gpt-4") == "auto"
    assert made.classifiers.keys() == {"prior"}
    assert made.tenants == {
        "a": TenantPolicy(frozenset({"small"}), None, 10.0),
        "*": TenantPolicy(None, None, 1.0, weakest_when_spent=True),
    }
    (provider,) = made.providers
    assert (provider.tier, provider.url, provider.key) == ("hosted", "https://api.example.com:443/v1", "k")
    assert (provider.requests_per_minute, provider.max_attempts) == (600, 2)
    assert "'k'" not in repr(provider)


def test_arms_are_virtual_models_of_their_own(tmp_path):
    tried = built(tmp_path).catalog.virtuals["tried"]
    as_it_is, other = tried.experiment.arms
    assert (as_it_is.share, as_it_is.virtual.target, as_it_is.virtual.tiers) == (
        0.5,
        QualityFloor(0.95),
        tried.tiers,
    )
    assert (other.virtual.target, other.virtual.tiers) == (StrongShare(0.2), ("small", "hosted"))
    assert (as_it_is.virtual.default, other.virtual.default) == ("large", "hosted")
    assert len({tried.name, as_it_is.virtual.name, other.virtual.name}) == 3


def test_signals_and_decisions(tmp_path):
    rules = built(tmp_path).rules
    assert rules.signals == {
        "night": TimeOfDay(22 * 60, 6 * 60 + 30, frozenset({0, 6}), -5 * 3600),
        "code": Structure(frozenset({"code", "table"})),
        "long": Length(4000, float("inf"), tokens=True),
    }
    (rule,) = rules.decisions
    assert (rule.name, rule.priority, rule.min_tier, rule.final) == ("code", 10, "large", False)
    assert [
        rule.when.holds({"code": code, "night": night}.get) for code, night in ((1, 0), (1, 1), (0, 0))
    ] == [1, 0, 0]


def test_without_tiers_nothing_is_built(tmp_path):
    assert built(tmp_path, "replicas: http://a\ntier_header: x-tier\n") is None


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ("requests_per", "request_per",
         "tiers.hosted.request_per_minute: expected a known key; the nearest is requests_per_minute (PATH:9)"),
        ("replicas: [10.0.0.2:8000]", "replicas: [10.0.0.3:8000]",
         "tiers.large.replicas[0]: expected the name of a replica; the nearest is 10.0.0.2:8000 (PATH:4)"),
        ("model: Qwen/Qwen4-8B", "model: x, max_in_flight: 3",
         "tiers.small-v2.max_in_flight: expected a `url` beside it: it is for providers (PATH:11)"),
        ("requests_per_minute: 600", "replicas: [10.0.0.1:8000]",
         "tiers.hosted.replicas: expected no `url` beside it: it is for replicas of one's own (PATH:9)"),
        ("input: 0.05", "input: -1", "tiers.small.usd_per_mtok.input: expected USD, at least 0, given -1 (PATH:3)"),
        ("languages: [en, no]", "languages: [english]",
         "tiers.hosted.can.languages[0]: expected a language by ISO 639-1, as en or de, given 'english' (PATH:10)"),
        ("tiers: [small, large]\n    strong", "tiers: [small, lrage]\n    strong",
         "virtual_models.auto.tiers[1]: expected the name of a tier; the nearest is large (PATH:14)"),
        ("tiers: [small, large]\n    strong", "tiers: [small, small, large]\n    strong",
         "virtual_models.auto.tiers[1]: expected each tier once (PATH:14)"),
        ("strong_share: 0.3", "strong_share: 1.3",
         "virtual_models.auto.strong_share: expected a share, at least 0 and at most 1, given 1.3 (PATH:15)"),
        ("strong_share: 0.3", "strong_share: 0.3\n    threshold: 0.7",
         "virtual_models.auto.threshold: expected no strong_share beside it: one of them can hold (PATH:16)"),
        ("    strong_share: 0.3\n", "",
         "virtual_models.auto: expected one of strong_share, quality_floor, threshold, since it has several tiers (PATH:13)"),
        ("default: large", "default: small",
         "virtual_models.best.default: expected one of its tiers: large, hosted (PATH:19)"),
        ("on: [saturated, failing]", "on: [full]",
         f"virtual_models.auto.fallback[0].on[0]: expected {TROUBLES}, given 'full' (PATH:16)"),
        ("}, small-v2]", "}, hosted]",
         "virtual_models.auto.fallback[1].to: expected another tier than fallback[0]: nobody is asked twice (PATH:16)"),
        ("fast: {tiers: small}", "fast: {tiers: small, fallback: small}",
         "virtual_models.fast.fallback[0].to: expected another tier than the only one it stands in for (PATH:18)"),
        ("to: small-v2, share", "to: large, share",
         "virtual_models.auto.canary.to: expected a tier that is not among `tiers` (PATH:17)"),
        ("instead_of: small", "instead_of: hosted",
         "virtual_models.auto.canary.instead_of: expected one of its tiers: small, large (PATH:17)"),
        ("as-it-is: 0.5", "as-it-is: 0.6",
         "virtual_models.tried.experiment.arms: expected shares that make 1 together, and not 1.1 (PATH:23)"),
        ("  fast:", "  Qwen/Qwen3-8B:",
         f"virtual_models.Qwen/Qwen3-8B: expected {TAKEN} (PATH:18)"),
        ("  fast:", "  large:", "virtual_models.large: expected another name than that of a tier (PATH:18)"),
        ("  fast:", "  auto:floor:",
         f"virtual_models.auto:floor: expected {A_NAME}, given 'auto:floor' (PATH:18)"),
        ("gpt-4o: auto", "gpt-4o: gpt-4",
         "model_aliases.gpt-4o: expected a name that does not lead back here: gpt-4o -> gpt-4 -> gpt-4o (PATH:24)"),
        ("gpt-4o: auto", "gpt-4o: auto, large: auto",
         "model_aliases.large: expected another name than that of a virtual model, a tier or a tier's model (PATH:24)"),
        ("length: {min: 4000}", "length: {min: 4000}, regex: x",
         f"signals.long: expected one of {', '.join(KINDS)} (PATH:28)"),
        ("length: {min: 4000}", "regex: '*'",
         "signals.long.regex: expected a regular expression: nothing to repeat at position 0, given '*' (PATH:28)"),
        ("length: {min: 4000}", "structure: code, at_least: 2",
         "signals.long.at_least: expected `keywords` or `domain` beside it (PATH:28)"),
        ("from: 22:00", "from: 25:00",
         "signals.night.time.from: expected a time of day, as 22:00, given 1500 (PATH:26)"),
        ("utc_offset: -5", "utc_offset: Berlin",
         "signals.night.time.utc_offset: expected what local time is ahead of UTC, as +02:00, given 'Berlin' (PATH:26)"),
        ("{not: night}", "{not: nihgt}",
         "decisions[0].when.all[1].not: expected the name of a signal; the nearest is night (PATH:32)"),
        ("{not: night}", "{}",
         "decisions[0].when.all[1]: expected the name of a signal, or one of `all`, `any` and `not` (PATH:32)"),
        ("min_tier: large", "min_tier: large, deny: never",
         "decisions[0].then: expected one of tier, tiers, min_tier, deny (PATH:33)"),
        ("min_tier: large", "tiers: [small, huge]",
         "decisions[0].then.tiers[1]: expected the name of a tier (PATH:33)"),
        ("when_spent: weakest", "when_spent: beg",
         "tenants.*.when_spent: expected refuse or weakest, given 'beg' (PATH:36)"),
        ("tenants:\n  a: {tiers: [small]", "tenants:\n  a: {tiers: [smal]",
         "tenants.a.tiers[0]: expected the name of a tier; the nearest is small (PATH:35)"),
    ],
)  # fmt: skip
def test_mistakes_with_their_place(tmp_path, old, new, mistake):
    assert BASE.count(old) == 1, old
    path = written(tmp_path, BASE.replace(old, new))
    assert only(told({}, KEY, path)) == mistake.replace("PATH", str(path))


@pytest.mark.parametrize("environ", [{}, {"HOSTED_API_KEY": ""}, {"HOSTED_API_KEY": "two words"}])
def test_the_key_of_a_provider_is_in_the_environment(tmp_path, environ):
    path = written(tmp_path, BASE)
    expected = "the name of an environment variable that holds a key of printable ASCII"
    assert only(told({}, environ, path)) == (
        f"tiers.hosted.api_key_env: expected {expected}, given 'HOSTED_API_KEY' ({path}:8)"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("api_key_env: HOSTED_API_KEY", "api_key_env: sk-s3cr3t"),
        ("api_key_env: HOSTED_API_KEY", "api_key_env: [sk-s3cr3t]"),
        ("api_key_env: HOSTED_API_KEY", "api_key: sk-s3cr3t"),
        ("https://api", "https://user:s3cr3t@api"),
    ],
)
def test_a_key_in_the_wrong_place_is_not_repeated(tmp_path, old, new):
    assert "s3cr3t" not in "".join(told({}, KEY, written(tmp_path, BASE.replace(old, new))))


def test_a_classifier_is_one_of_ours_or_a_file_that_is_watched(tmp_path):
    mine = tmp_path / "mine.npz"
    text = BASE.replace("threshold: 0.7,", f"threshold: 0.7, classifier: {mine},")
    path = written(tmp_path, text)
    mistake = only(told({}, KEY, path))
    assert mistake.startswith(
        "virtual_models.best.classifier: expected prior, length or a readable file: No such file or directory, given "
    )
    assert mistake.endswith(f"({path}:19)")
    mine.write_bytes(b"weights")
    assert "expected a file that `balancer tier train` wrote" in only(told({}, KEY, path))
    save(mine, metadata(), ARRAYS)
    loaded = load({}, KEY, path)
    assert mine in files(loaded)
    assert make_tiering(loaded.settings, KEY).classifiers.keys() == {"prior", str(mine)}


A_KEY = "the name of an environment variable that holds a key of printable ASCII"
ASKED = "{url: http://j:8000, model: j}"


@pytest.mark.parametrize(
    ("classifier", "mistake"),
    [
        ("7", "classifier: expected a classifier's name, file or mapping, given 7"),
        ("{}", "classifier: expected one of file, judge, classify"),
        (f"{{file: prior, judge: {ASKED}}}", "classifier: expected one of file, judge, classify"),
        ("{judge: {url: http://j:8000}}", "classifier.judge.model: expected text, not empty"),
        ("{judge: {url: j, model: j}}",
         "classifier.judge.url: expected a URL that begins with http:// or https://, given 'j'"),
        ("{judge: {url: http://j/v1, model: j}}",
         "classifier.judge.url: expected a URL without `/v1`, as of a replica"),
        ("{judge: {url: http://j, model: j, timeout_s: 0}}",
         "classifier.judge.timeout_s: expected seconds, above 0, given 0"),
        ("{judge: {url: http://j, model: j, max_inflight: 2}}",
         "classifier.judge.max_inflight: expected a known key; the nearest is max_in_flight"),
        ("{judge: {url: http://j, model: j, api_key_env: NONE}}",
         f"classifier.judge.api_key_env: expected {A_KEY}, given 'NONE'"),
        (f"{{file: length, embeddings: {ASKED}}}",
         "classifier.embeddings: expected a `file` beside it, of a router that reads vectors"),
        (f"{{file: a.npz, embeddings: {ASKED}, encoder: e}}",
         "classifier.encoder: expected no embeddings beside it: one of them gives the vectors"),
        (f"{{classify: {ASKED}, encoder: e}}",
         "classifier.encoder: expected a `file` beside it, of a router that reads vectors"),
    ],
)  # fmt: skip
def test_mistakes_of_classifiers_with_their_place(tmp_path, classifier, mistake):
    path = written(tmp_path, BASE.replace("default: large,", f"default: large, classifier: {classifier},"))
    assert only(told({}, KEY, path)) == f"virtual_models.best.{mistake} ({path}:19)"


def test_an_arm_has_a_classifier_of_its_own(tmp_path):
    judge = "{judge: {url: http://j:8000, model: j, api_key_env: HOSTED_API_KEY}}"
    text = BASE.replace("strong_share: 0.2}", f"strong_share: 0.2, classifier: {judge}}}")
    made = built(tmp_path, text)
    tried = made.catalog.virtuals["tried"]
    of_arms = [arm.virtual.classifier for arm in tried.experiment.arms]
    assert of_arms == ["prior", "judge-" + of_arms[1][-8:]]
    assert made.classifiers.keys() == set(of_arms)
    said = effective(load({}, KEY, written(tmp_path, text)))
    line = "#     b/other: 0.5; small < hosted; 0.2 of the requests to stronger tiers; by judge j at http://j:8000"
    assert line in said.splitlines()
    assert built(tmp_path, said.split("\n\n#")[0]).catalog.virtuals == made.catalog.virtuals


def test_a_folder_that_is_no_encoder(tmp_path):
    mine = tmp_path / "mine.npz"
    save(mine, NEAR, NEAR_ARRAYS)
    classifier = f"{{file: {mine}, encoder: {tmp_path}}}"
    path = written(tmp_path, BASE.replace("default: large,", f"default: large, classifier: {classifier},"))
    mistake = only(told({}, KEY, path))
    assert mistake.startswith("virtual_models.best.classifier.encoder: expected the folder of an encoder: ")
    assert mistake.endswith(f"({path}:19)")


def test_what_is_wrong_alone_hides_what_is_wrong_between(tmp_path):
    """A tier that cannot be read is not said to be missing."""
    path = written(
        tmp_path, BASE.replace("model: Qwen/Qwen3-8B", "model: 7").replace("[small, large]", "[none]", 1)
    )
    assert only(told({}, KEY, path)).startswith("tiers.small.model: expected text, not empty, given 7")


def test_what_is_wrong_elsewhere_hides_nothing(tmp_path):
    text = BASE.replace("{min: 4000}", "{min: x}").replace(
        "strong_share: 0.3\n", "strong_share: 0.3\n    threshold: 0.7\n"
    )
    path = written(tmp_path, text.replace("to: small-v2", "to: small-v3"))
    assert [mistake.partition(":")[0] for mistake in told({}, KEY, path)] == [
        "signals.long.length.min",
        "virtual_models.auto.threshold",
        "virtual_models.auto.canary.to",
    ]
    wrong_replica = written(tmp_path, BASE.replace("http://10.0.0.2:8000", "10.0.0.2:8000", 1))
    assert only(told({}, KEY, wrong_replica)).startswith("replicas[1].url: ")


@pytest.mark.parametrize(
    ("given_value", "minute"),
    [("22:00", 1320), (1320, 1320), ("06:05", 365), ("24:00", 1440), (0, 0)],
)
def test_times_of_day_as_yaml_reads_them(tmp_path, given_value, minute):
    signals = {"n": {"time": {"from": given_value, "to": "7:00", "utc_offset": "+10:30"}}}
    settings = load({"replicas": ["http://a"], "signals": json.dumps(signals)}, {}).settings
    assert (settings.signals["n"].time.start, settings.signals["n"].time.end) == (minute, 420)
    assert settings.signals["n"].time.utc_offset == 630


def test_mappings_as_flags_and_variables():
    flags = {"replicas": ["http://a"], "tiers": '{"small": {"model": "m"}}'}
    environ = {"BALANCER_VIRTUAL_MODELS": '{"auto": {"tiers": ["small"]}}'}
    made = make_tiering(load(flags, environ).settings, environ)
    assert list(made.catalog.virtuals) == ["auto"]
    assert only(told(flags | {"tiers": "{"})).startswith("tiers: expected a JSON object: ")
    assert only(told(flags | {"tiers": "small"})) == (
        "tiers: expected a mapping of names to tiers, given 'small' (command line --tiers)"
    )


def test_what_holds_is_printed_whole_and_in_words(tmp_path):
    text = effective(load({}, KEY, written(tmp_path, BASE)))
    again = built(tmp_path, text.split("\n\n#")[0])
    assert (again.catalog.virtuals, again.catalog.tiers, again.rules) == (
        (made := built(tmp_path)).catalog.virtuals,
        made.catalog.tiers,
        made.rules,
    )
    for line in (
        "#   small: Qwen/Qwen3-8B on whoever serves it; 0.05 in and 0.2 out, cached 0.01 USD per million tokens",
        "#   hosted: gpt-5.2 at https://api.example.com:443/v1, key from HOSTED_API_KEY",
        "#   auto: small < large; 0.3 of the requests to stronger tiers by `prior`; unknown ones to large",
        "#     saturated, failing -> hosted",
        "#     canary: small-v2 in the place of small for 0.05 of the conversations",
        "#     b/other: 0.5; small < hosted; 0.2 of the requests to stronger tiers",
        "#   gpt-4: as gpt-4o",
        "#     10 code: code and not night -> at least large",
        "#   *: all tiers, 1 USD a day, then weakest",
    ):
        assert line in text.splitlines()


names = st.sampled_from(["small", "large", "auto", "code", "*", "", "router-x", "on"]) | st.text(max_size=4)
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9999) | st.floats() | names,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            names
            | st.sampled_from(
                ["model", "tiers", "share", "all", "not", "when", "then", "tier", "name", "time", "from"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["tiers", "virtual_models", "signals", "decisions", "tenants"]), trees, min_size=1
    )
)
def test_anything_is_settings_that_build_or_mistakes(tmp_path_factory, content):
    path = written(tmp_path_factory.mktemp("any"), {"replicas": ["http://a"], **content})
    try:
        settings = load({}, {}, path).settings
    except ConfigError as error:
        assert error.mistakes
        return
    make_tiering(settings, {})
