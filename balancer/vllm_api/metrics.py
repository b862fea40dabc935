"""What a vLLM metrics page says of its engines, in the dialect of any version from 0.6 to 0.33.

Pure: bytes in, an `EngineSample` out. Fetching, ages and differences of counters are the observers' work.

Histograms make up most of a page and none is wanted, so the page is not parsed: `bytes.find` jumps to each
wanted name at the start of a line, and only that line is looked at. This needs no order, no TYPE line and no
well-formed neighbour, and nothing makes it raise. A signal that is absent is None, and so is one of which any
series is unreadable: a sum over the other ranks would say "less loaded". A last line without its line end was
cut short and counts as unreadable.

Names and their changes: vllm/v1/metrics/loggers.py, and vllm/engine/metrics.py for the V0 engine.
"""

import re
from typing import Final, NamedTuple

from balancer.core.types import EngineSample

MAX_VALUE = 1e15
MAX_REQUESTS = 1e6
"""What is said beyond these is not believed: a page may be anybody's."""

_Names = tuple[bytes, ...]


def _names(*stems: str, counter: bool = False) -> _Names:
    """List what a signal is called, as it stands at the start of a line; counters mostly end in `_total`."""
    endings = ("_total", "") if counter else ("",)
    return tuple(f"\n{stem}{ending}".encode() for stem in stems for ending in endings)


# The first name that the page has is believed: versions that announce a renaming show both (0.9.2 to 0.10.2
# for all that was gpu_*), and only the older ones lack the first.
_RUNNING: Final = _names("vllm:num_requests_running")
_WAITING: Final = _names("vllm:num_requests_waiting")
_KV_USAGE: Final = _names("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
_PREFIX_QUERIES: Final = _names("vllm:prefix_cache_queries", "vllm:gpu_prefix_cache_queries", counter=True)
_PREFIX_HITS: Final = _names("vllm:prefix_cache_hits", "vllm:gpu_prefix_cache_hits", counter=True)
_PROMPT_TOKENS: Final = _names("vllm:prompt_tokens", counter=True)
_GENERATION_TOKENS: Final = _names("vllm:generation_tokens", counter=True)
_PREEMPTIONS: Final = _names("vllm:num_preemptions", counter=True)
_SLEEP_STATE: Final = _names("vllm:engine_sleep_state")
_CACHE_CONFIG: Final = _names("vllm:cache_config_info")
_START_TIME: Final = _names("process_start_time_seconds")

# What follows a name: labels, whose values may hold escaped quotes, commas and braces; then the value, whole
# only if white space follows. Every repeat is possessive, so that a hostile line costs linear time.
_REST: Final = re.compile(
    rb'[ \t]*+(?:\{((?:[^"{}\n]|"(?:[^"\\\n]|\\[^\n])*+")*+)\})?+[ \t]*+([^ \t\r\n]++)(?=[ \t\r\n])'
)
_LABEL: Final = re.compile(rb'([A-Za-z_][A-Za-z0-9_]*+)[ \t]*+=[ \t]*+"((?:[^"\\]|\\.)*+)"')


class _Series(NamedTuple):
    labels: bytes
    value: float | None


def scan(page: bytes, taken_at: float) -> EngineSample:
    """Read one page. Any bytes will do: what is not a vLLM page gives a sample of None."""
    page = b"\n" + page
    configs = [dict(_LABEL.findall(series.labels)) for series in _find(page, _CACHE_CONFIG)]
    return EngineSample(
        taken_at=taken_at,
        running=_sum(page, _RUNNING, most=MAX_REQUESTS),
        waiting=_sum(page, _WAITING, most=MAX_REQUESTS),
        kv_usage=_max(page, _KV_USAGE, most=1.0),
        prefix_queries_tokens=_sum(page, _PREFIX_QUERIES),
        prefix_hits_tokens=_sum(page, _PREFIX_HITS),
        prompt_tokens=_sum(page, _PROMPT_TOKENS),
        generation_tokens=_sum(page, _GENERATION_TOKENS),
        preemptions=_sum(page, _PREEMPTIONS),
        asleep=_asleep(_find(page, _SLEEP_STATE)),
        block_size_tokens=_whole(configs[0].get(b"block_size")) if configs else None,
        kv_capacity_tokens=_capacity_tokens(configs),
        process_start_time_s=_max(page, _START_TIME),
    )


def _find(page: bytes, names: _Names) -> list[_Series]:
    """Collect every series of the first name that the page has."""
    return next((series for name in names if (series := _find_name(page, name))), [])


def _find_name(page: bytes, name: bytes) -> list[_Series]:
    found: list[_Series] = []
    at = page.find(name)
    while at >= 0:
        end = at + len(name)
        if page[end : end + 1] in (b"{", b" ", b"\t"):  # else a longer name that begins alike
            rest = _REST.match(page, end)
            found.append(_Series(rest[1] or b"", _number(rest[2])) if rest else _Series(b"", None))
        at = page.find(name, end)
    return found


def _values(page: bytes, names: _Names) -> list[float]:
    """Read a signal, one value a series; no value at all if one of them is no number."""
    series = _find(page, names)
    values = [value for _, value in series if value is not None]
    return values if len(values) == len(series) else []


def _sum(page: bytes, names: _Names, *, most: float = MAX_VALUE) -> float | None:
    values = _values(page, names)
    return sum(values) if values and sum(values) <= most else None


def _max(page: bytes, names: _Names, *, most: float = MAX_VALUE) -> float | None:
    value = max(_values(page, names), default=None)
    return value if value is not None and value <= most else None


def _number(text: bytes) -> float | None:
    """Read a number that can be, from 0 to MAX_VALUE, as every signal here is."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= MAX_VALUE and b"_" not in text else None


def _whole(text: bytes | None) -> int | None:
    """Read a label that counts something: "16", or "None" while vLLM has not worked it out."""
    if text is None or not text.isdigit() or len(text) > 15:
        return None
    return int(text) or None


def _asleep(states: list[_Series]) -> bool | None:
    """Tell whether a rank sleeps (0.11 and later). A request can go to any rank, so one is enough."""
    awake = [value for labels, value in states if (b"sleep_state", b"awake") in _LABEL.findall(labels)]
    if not awake or None in awake:
        return None
    return 0 in awake


def _capacity_tokens(configs: list[dict[bytes, bytes]]) -> int | None:
    """Add up the KV cache of all ranks: vLLM's own figure (0.24 and later), else blocks times their size.

    They differ for hybrid models, in which a block is not `block_size` tokens of every layer.
    """
    total = 0
    for config in configs:
        blocks, block_size = _whole(config.get(b"num_gpu_blocks")), _whole(config.get(b"block_size"))
        stated = _whole(config.get(b"kv_cache_size_tokens"))
        tokens = stated or (blocks * block_size if blocks and block_size else None)
        if tokens is None:
            return None
        total += tokens
    return total or None
