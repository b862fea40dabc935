"""The scanner against prometheus_client's own parser, in every dialect, and against pages that are none."""

import math
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from balancer.core.types import EngineSample
from balancer.vllm_api.metrics import MAX_REQUESTS, scan

PAGE = (Path(__file__).parent.parent / "data/vllm/0.32.0/metrics.txt").read_bytes()
NOTHING = EngineSample(taken_at=0.0)


def reference(page: bytes) -> EngineSample:
    """The same reading by the official parser, plainly written."""
    found = defaultdict(list)
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            found[sample.name].append(sample)

    def first(*names):
        return next((found[name] for name in names if name in found), [])

    def total(*names):
        values = [sample.value for sample in first(*names)]
        return math.fsum(values) if values else None

    def requests(name):
        count = total(name)
        return None if count is None or count > MAX_REQUESTS else count

    def highest(*names):
        return max((sample.value for sample in first(*names)), default=None)

    configs = [sample.labels for sample in first("vllm:cache_config_info")]
    awake = [s.value for s in first("vllm:engine_sleep_state") if s.labels["sleep_state"] == "awake"]
    capacity = 0
    for config in configs:
        stated = config.get("kv_cache_size_tokens", "None")
        if stated != "None":
            capacity += int(stated)
        elif config["num_gpu_blocks"] != "None":
            capacity += int(config["num_gpu_blocks"]) * int(config["block_size"])
    return EngineSample(
        taken_at=0.0,
        running=requests("vllm:num_requests_running"),
        waiting=requests("vllm:num_requests_waiting"),
        kv_usage=highest("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        prefix_queries_tokens=total("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
        prefix_hits_tokens=total("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
        prompt_tokens=total("vllm:prompt_tokens_total"),
        generation_tokens=total("vllm:generation_tokens_total"),
        preemptions=total("vllm:num_preemptions_total"),
        asleep=min(awake) == 0 if awake else None,
        block_size_tokens=int(configs[0]["block_size"]) if configs else None,
        kv_capacity_tokens=capacity or None,
        process_start_time_s=highest("process_start_time_seconds"),
    )


def test_a_captured_page_reads_as_the_official_parser_reads_it():
    assert scan(PAGE, 0.0) == reference(PAGE)
    assert scan(PAGE, 0.0) == EngineSample(
        taken_at=0.0,
        running=0.0,
        waiting=0.0,
        kv_usage=0.0,
        prefix_queries_tokens=11866.0,
        prefix_hits_tokens=1888.0,
        prompt_tokens=11866.0,
        generation_tokens=3899.0,
        preemptions=0.0,
        asleep=False,
        block_size_tokens=32,
        kv_capacity_tokens=8192,
        process_start_time_s=1795571517.49,
    )


@dataclass(frozen=True)
class Dialect:
    """What a version shows, where versions differ."""

    version: str
    engine_label: bool
    kv_usage: tuple[str, ...]
    prefix: tuple[str, ...]
    sleep_state: bool = False
    by_reason: bool = False
    kv_cache_size_tokens: bool = False


DIALECTS = [
    Dialect("0.6.6", engine_label=False, kv_usage=("gpu_cache_usage_perc",), prefix=()),
    Dialect("0.8.5", engine_label=False, kv_usage=("gpu_cache_usage_perc",), prefix=("gpu_prefix_cache",)),
    Dialect(
        "0.10.2",
        engine_label=True,
        kv_usage=("gpu_cache_usage_perc", "kv_cache_usage_perc"),
        prefix=("gpu_prefix_cache", "prefix_cache"),
    ),
    Dialect(
        "0.12.0",
        engine_label=True,
        kv_usage=("kv_cache_usage_perc",),
        prefix=("prefix_cache",),
        sleep_state=True,
    ),
    Dialect(
        "0.33.0",
        engine_label=True,
        kv_usage=("kv_cache_usage_perc",),
        prefix=("prefix_cache",),
        sleep_state=True,
        by_reason=True,
        kv_cache_size_tokens=True,
    ),
]

counts = st.integers(0, 10_000).map(float) | st.floats(0, 2e14)  # four ranks' sum can still be
blocks = st.none() | st.integers(1, 10**7)


@st.composite
def pages(draw) -> bytes:
    """A page as prometheus_client writes it for one version, any number of ranks and any model name."""
    dialect = draw(st.sampled_from(DIALECTS))
    ranks = range(draw(st.integers(1, 4)) if dialect.engine_label else 1)
    model = draw(st.text(max_size=12) | st.just('a"} 7\n\\",sleep_state="awake'))
    registry = CollectorRegistry()
    names = ["model_name", *(["engine"] if dialect.engine_label else [])]

    def labels(rank, **more):
        return {"model_name": model, **({"engine": str(rank)} if dialect.engine_label else {}), **more}

    def gauge(name, values=counts):
        family = Gauge(f"vllm:{name}", "help", names, registry=registry)
        for rank in ranks:
            family.labels(**labels(rank)).set(draw(values))

    def counter(name):
        family = Counter(f"vllm:{name}", "help", names, registry=registry)
        for rank in ranks:
            family.labels(**labels(rank)).inc(draw(counts))

    def states(name, label, values):
        family = Gauge(f"vllm:{name}", "help", [*names, label], registry=registry)
        for rank in ranks:
            for value in values:
                family.labels(**labels(rank, **{label: value})).set(draw(st.sampled_from([0, 1])))

    if draw(st.booleans()):
        Gauge("process_start_time_seconds", "help", registry=registry).set(draw(counts))
    gauge("num_requests_running")
    gauge("num_requests_waiting")
    if dialect.by_reason:
        states("num_requests_waiting_by_reason", "reason", ["capacity", "deferred"])
    for name in dialect.kv_usage:
        gauge(name, st.floats(0, 1))
    for name in dialect.prefix:
        counter(f"{name}_queries")
        counter(f"{name}_hits")
    for name in ("prompt_tokens", "generation_tokens", "num_preemptions", "prompt_tokens_cached"):
        counter(name)
    if dialect.sleep_state:
        states("engine_sleep_state", "sleep_state", ["awake", "weights_offloaded", "discard_all"])
    sizes = [
        "block_size",
        "num_gpu_blocks",
        *(["kv_cache_size_tokens"] if dialect.kv_cache_size_tokens else []),
    ]
    config = Gauge("vllm:cache_config_info", "help", [*names, *sizes, "note"], registry=registry)
    known, stated = draw(blocks), draw(blocks)
    for rank in ranks:
        values = {"block_size": "16", "num_gpu_blocks": str(known), "note": "{[]}"}
        if dialect.kv_cache_size_tokens:
            values["kv_cache_size_tokens"] = str(stated)
        config.labels(**labels(rank, **values)).set(1)
    latency = Histogram("vllm:time_to_first_token_seconds", "help", names, registry=registry)
    latency.labels(**labels(0)).observe(0.5)
    return generate_latest(registry)


def close(a: EngineSample, b: EngineSample) -> bool:
    pairs = zip(asdict(a).values(), asdict(b).values(), strict=True)
    return all(x == y or (None not in (x, y) and math.isclose(x, y, rel_tol=1e-12)) for x, y in pairs)


@given(pages())
def test_every_dialect_reads_as_the_official_parser_reads_it(page):
    assert close(scan(page, 0.0), reference(page))


@given(pages())
def test_line_ends_order_and_comments_do_not_matter(page):
    lines = page.decode().split("\n")[:-1]
    bare = [line for line in lines if not line.startswith("#")]
    assert scan("".join(line + "\r\n" for line in lines).encode(), 0.0) == scan(page, 0.0)
    assert close(scan("".join(line + "\n" for line in reversed(bare)).encode(), 0.0), scan(page, 0.0))


RANKS = b"""\
vllm:num_requests_running{engine="0"} 3
vllm:num_requests_running{engine="1"} 4.0
vllm:num_requests_waiting{engine="0"} 5 1700000000000
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 5
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.75
vllm:gpu_cache_usage_perc 0.99
vllm:prompt_tokens{engine="0"} 10 # {trace_id="a b"} 1 2
vllm:generation_tokens_total 20
vllm:engine_sleep_state{engine="0",sleep_state="awake"} 1
vllm:engine_sleep_state{engine="1",sleep_state="awake"} 1
vllm:cache_config_info{engine="0",block_size="16",num_gpu_blocks="100"} 1
vllm:cache_config_info{engine="1",block_size="16",num_gpu_blocks="200"} 1
"""


def test_ranks_are_summed_but_kv_usage_is_the_highest():
    assert scan(RANKS, 2.5) == EngineSample(
        taken_at=2.5,
        running=7.0,
        waiting=5.0,
        kv_usage=0.75,
        prompt_tokens=10.0,
        generation_tokens=20.0,
        asleep=False,
        block_size_tokens=16,
        kv_capacity_tokens=4800,
    )


@pytest.mark.parametrize(
    "garbage", ["NaN", "+Inf", "-Inf", "-1", "1_0", "null", "0x10", "1e999", "{", '"', "-", "\xff"]
)
def test_one_unreadable_series_makes_its_signal_unknown_and_no_other(garbage):
    page = RANKS.replace(
        b'num_requests_running{engine="1"} 4.0', b'num_requests_running{engine="1"} ' + garbage.encode()
    )
    assert scan(page, 2.5) == replace(scan(RANKS, 2.5), running=None)


def test_an_overflowing_sum_is_unknown():
    assert scan(RANKS.replace(b"} 3\n", b"} 1e308\n").replace(b"} 4.0\n", b"} 1e308\n"), 0.0).running is None


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("running", "vllm:num_requests_running 1e308"),
        ("waiting", "vllm:num_requests_waiting 1e7"),
        ("kv_usage", "vllm:kv_cache_usage_perc 1.5"),
        ("prompt_tokens", "vllm:prompt_tokens_total 1e16"),
    ],
)
def test_what_cannot_be_is_unknown(field, line):
    assert getattr(scan(line.encode() + b"\n", 0.0), field) is None


@pytest.mark.parametrize("size", ["None", "", "0", "-16", "16.0", "1" * 400, "\u0661"])
def test_a_cache_config_without_sizes_gives_no_capacity(size):
    page = RANKS.replace(b'block_size="16"', f'block_size="{size}"'.encode())
    assert scan(page, 2.5) == replace(scan(RANKS, 2.5), block_size_tokens=None, kv_capacity_tokens=None)


def test_the_engines_own_capacity_comes_before_blocks_times_size():
    page = RANKS.replace(b'num_gpu_blocks="200"', b'num_gpu_blocks="None",kv_cache_size_tokens="5000"')
    assert scan(page, 0.0).kv_capacity_tokens == 1600 + 5000


def test_a_replica_sleeps_when_one_rank_does():
    assert (
        scan(RANKS.replace(b'"1",sleep_state="awake"} 1', b'"1",sleep_state="awake"} 0'), 0.0).asleep is True
    )
    assert (
        scan(RANKS.replace(b'"1",sleep_state="awake"} 1', b'"1",sleep_state="awake"} x'), 0.0).asleep is None
    )
    assert scan(b'vllm:engine_sleep_state{sleep_state="discard_all"} 1\n', 0.0).asleep is None


def test_a_label_value_cannot_pose_as_a_label_or_a_series():
    page = b'vllm:engine_sleep_state{model_name="\\",sleep_state=\\"awake",sleep_state="discard_all"} 0\n'
    assert scan(page, 0.0) == NOTHING
    page = b'vllm:num_requests_running{model_name="} 9\\n\\\\",engine="0"} 2\n'
    assert scan(page, 0.0).running == 2.0


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"\n",
        b"<html><body>502 Bad Gateway {{{ </body></html>",
        b'{"detail":"Not Found"}',
        b"vllm:num_requests_running",
        b"vllm:num_requests_running{",
        b"vllm:num_requests_running 3",
        b"# vllm:num_requests_running 3\n",
        b"other:vllm:num_requests_running 3\n",
        b"vllm:num_requests_running_max 3\n",
        bytes(range(256)) * 20,
    ],
)
def test_what_is_no_page_says_nothing(page):
    assert scan(page, 0.0) == NOTHING


FRAGMENTS = [
    b"vllm:num_requests_running",
    b"vllm:cache_config_info",
    b"vllm:engine_sleep_state",
    b'{sleep_state="awake"}',
    b'{block_size="16",',
    b'num_gpu_blocks="2"}',
    b"\n",
    b"\r",
    b'"',
    b"\\",
    b"{",
    b"}",
    b" ",
    b"1",
    b"=",
    b",",
]


@given(st.binary() | st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3), max_size=40).map(b"".join))
def test_any_bytes_are_tolerated(page):
    sample = scan(page, 0.0)
    assert all(value is None or value >= 0 for value in asdict(sample).values())


def test_a_page_cut_anywhere_says_less_but_nothing_else():
    whole = asdict(scan(PAGE, 0.0))
    for end in range(0, len(PAGE), 7):
        cut = asdict(scan(PAGE[:end], 0.0))
        assert all(value in (None, whole[name]) for name, value in cut.items()), end


def test_a_line_cut_in_its_middle_is_not_a_smaller_number():
    lines = PAGE.splitlines(keepends=True)
    whole = asdict(scan(PAGE, 0.0))
    starts = (
        b"vllm:prompt_tokens_total",
        b"vllm:cache_config_info",
        b"vllm:engine_sleep_state",
        b"process_start",
    )
    for line in (line for line in lines if line.startswith(starts)):
        for end in range(len(line)):
            cut = asdict(scan(line[:end], 0.0))
            assert all(value in (None, whole[name]) for name, value in cut.items()), line[:end]


def test_a_hostile_line_costs_linear_time():
    hostile = [
        b'{a="' + b"\\" * 200_000,
        b'{"' * 200_000,
        b"{" + b'""' * 200_000,
        b" " * 400_000,
        b"{" + b"a" * 400_000,
    ]
    for tail in hostile:
        assert scan(b"vllm:num_requests_running" + tail, 0.0) == NOTHING
