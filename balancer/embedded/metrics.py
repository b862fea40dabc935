"""The replica's /metrics page: vLLM's names, labels, types and bucket edges (those of 0.32).

Gauges are those of the last finished step, as in vLLM: what arrives while a long step runs shows after it. Times are
seconds of the wall clock, as a client measures them.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping

from balancer.embedded.engine import Engine, EngineSequence, StepResult

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"

_FIRST_TOKEN = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0,
    2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
_TOKEN_GAP = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_LATENCY = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0,
    60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
_Sample = tuple[str, dict[str, str], float]  # suffix of the name, labels, value

_FINISH_REASONS = ("stop", "length", "abort", "error", "repetition")


def token_edges(max_model_len: int) -> tuple[float, ...]:
    """1, 2, 5, 10, 20, ... up to the context length."""
    edges = [float(step * 10**power) for power in range(len(str(max_model_len))) for step in (1, 2, 5)]
    return tuple(edge for edge in edges if edge <= max_model_len)


class Histogram:
    def __init__(self, edges: Iterable[float]) -> None:
        self.edges = tuple(edges)
        self.counts = [0] * (len(self.edges) + 1)
        self.sum = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        self.counts[bisect_left(self.edges, value)] += count
        self.sum += value * count


class ReplicaMetrics:
    def __init__(self, engine: Engine, *, model: str, max_model_len: int) -> None:
        self.engine = engine
        self.started_s = time.time()
        self.success = dict.fromkeys(_FINISH_REASONS, 0)
        self.time_to_first_token = Histogram(_FIRST_TOKEN)
        self.inter_token_latency = Histogram(_TOKEN_GAP)
        self.e2e = Histogram(_LATENCY)
        self.queue = Histogram(_LATENCY)
        self.inference = Histogram(_LATENCY)
        self.prefill = Histogram(_LATENCY)
        self.decode = Histogram(_LATENCY)
        self.prompt_tokens = Histogram(token_edges(max_model_len))
        self.generation_tokens = Histogram(token_edges(max_model_len))
        self._model_label = {"model_name": model}
        self._labels = {"engine": "0", "model_name": model}
        self._last_step_s: float | None = None
        self.sleep_level: int | None = None  # None: awake
        self.take_gauges()

    def take_gauges(self) -> None:
        self.running = self.engine.num_running
        self.waiting = self.engine.num_waiting
        self.kv_usage = self.engine.pool.usage

    def observe_step(self, result: StepResult, now: float) -> None:
        """After each step of the engine. A preempted sequence's pause is not among the token gaps."""
        if result.decode_sequences and self._last_step_s is not None:
            self.inter_token_latency.observe(now - self._last_step_s, result.decode_sequences)
        self._last_step_s = now
        for sequence in result.first_tokens:
            self.time_to_first_token.observe(now - sequence.arrived_s)
        self.take_gauges()

    def observe_end(self, sequence: EngineSequence, reason: str, generated_tokens: int) -> None:
        """After a request has ended, by itself or by an abort."""
        self.success[reason] += 1
        arrived, admitted, first, ended = (
            sequence.arrived_s, sequence.admitted_s, sequence.first_token_s, sequence.finished_s,
        )  # fmt: skip
        if admitted is None or first is None or ended is None:
            return  # aborted before it gave anything to measure
        self.e2e.observe(ended - arrived)
        self.queue.observe(admitted - arrived)
        self.prefill.observe(first - admitted)
        self.decode.observe(ended - first)
        self.inference.observe(ended - admitted)
        self.prompt_tokens.observe(sequence.request.prompt_tokens)
        self.generation_tokens.observe(generated_tokens)

    def page(self) -> bytes:
        """The page in Prometheus's text format."""
        return "".join(self._families()).encode()

    def _families(self) -> Iterator[str]:
        counters, pool = self.engine.counters, self.engine.pool
        yield _family("process_start_time_seconds", "gauge", [("", {}, self.started_s)])
        yield _family("process_cpu_seconds_total", "counter", [("", {}, time.process_time())])
        yield self._gauge("num_requests_running", self.running)
        yield self._gauge("num_requests_waiting", self.waiting)
        reasons = {"capacity": self.waiting, "deferred": 0}
        yield self._gauge("num_requests_waiting_by_reason", reasons, by="reason")
        level = self.sleep_level
        states = {"awake": level is None, "weights_offloaded": level == 1, "discard_all": level == 2}
        yield self._gauge("engine_sleep_state", states, by="sleep_state")
        yield self._gauge("kv_cache_usage_perc", self.kv_usage)
        yield self._counter("prefix_cache_queries", counters.prefix_cache_queries_tokens)
        yield self._counter("prefix_cache_hits", counters.prefix_cache_hits_tokens)
        yield self._counter("num_preemptions", counters.preemptions)
        yield self._counter("prompt_tokens", counters.prompt_tokens)
        yield self._counter("prompt_tokens_cached", counters.prefix_cache_hits_tokens)
        yield self._counter("generation_tokens", counters.generation_tokens)
        yield self._counter("request_success", self.success, by="finished_reason")
        rejections = {"max_num_queued_reqs": counters.rejections, "max_num_queued_tokens": 0}
        yield self._counter("admission_rejections", rejections, by="reason", labels=self._model_label)
        yield self._histogram("request_prompt_tokens", self.prompt_tokens)
        yield self._histogram("request_generation_tokens", self.generation_tokens)
        yield self._histogram("time_to_first_token_seconds", self.time_to_first_token)
        yield self._histogram("inter_token_latency_seconds", self.inter_token_latency)
        yield self._histogram("e2e_request_latency_seconds", self.e2e)
        yield self._histogram("request_queue_time_seconds", self.queue)
        yield self._histogram("request_inference_time_seconds", self.inference)
        yield self._histogram("request_prefill_time_seconds", self.prefill)
        yield self._histogram("request_decode_time_seconds", self.decode)
        config = {
            "block_size": self.engine.block_size,
            "cache_dtype": "auto",
            "enable_prefix_caching": True,
            "engine": 0,
            "hash_block_size": None,
            "kv_cache_size_tokens": pool.total * self.engine.block_size,
            "num_gpu_blocks": pool.total,
            "sliding_window": None,
        }
        labels = {name: str(value) for name, value in config.items()}
        yield _family("vllm:cache_config_info", "gauge", [("", labels, 1.0)])

    def _gauge(self, name: str, value: float | Mapping[str, float], *, by: str | None = None) -> str:
        return _family(f"vllm:{name}", "gauge", _series(value, by, self._labels))

    def _counter(
        self,
        name: str,
        value: float | Mapping[str, float],
        *,
        by: str | None = None,
        labels: dict[str, str] | None = None,
    ) -> str:
        series = _series(value, by, self._labels if labels is None else labels)
        return _family(f"vllm:{name}_total", "counter", series) + self._created(name, series)

    def _histogram(self, name: str, histogram: Histogram) -> str:
        samples: list[_Sample] = []
        total = 0
        edges = [*map(str, histogram.edges), "+Inf"]
        for edge, count in zip(edges, histogram.counts, strict=True):
            total += count
            samples.append(("_bucket", {**self._labels, "le": edge}, total))
        samples.append(("_count", self._labels, total))
        samples.append(("_sum", self._labels, histogram.sum))
        return _family(f"vllm:{name}", "histogram", samples) + self._created(name, [("", self._labels, 0.0)])

    def _created(self, name: str, series: Iterable[_Sample]) -> str:
        created = [(suffix, labels, self.started_s) for suffix, labels, _ in series]
        return _family(f"vllm:{name}_created", "gauge", created)


def _series(value: float | Mapping[str, float], by: str | None, labels: dict[str, str]) -> list[_Sample]:
    """One sample, or one for each value of the label `by`."""
    if isinstance(value, Mapping):
        return [("", {**labels, by or "": key}, number) for key, number in value.items()]
    return [("", labels, value)]


def _family(name: str, type_: str, samples: Iterable[_Sample]) -> str:
    lines = [f"# HELP {name} See vLLM's documentation of its metrics.\n# TYPE {name} {type_}\n"]
    for suffix, labels, value in samples:
        text = ",".join(f'{key}="{_escape(labels[key])}"' for key in sorted(labels))
        lines.append(
            f"{name}{suffix}{{{text}}} {float(value)!r}\n" if text else f"{name}{suffix} {value!r}\n"
        )
    return "".join(lines)


def _escape(label: str) -> str:
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
