"""Prometheus metrics of the balancer. Only this module and those it is made of know prometheus_client.

Requests are added up in plain numbers, and made into samples when somebody scrapes: counting costs a request
a microsecond or two. Label values are bounded whatever clients send: models that nobody serves, and routes that
nobody knows, fold into `other`. Bucket edges are vLLM's own (vllm/v1/metrics/loggers.py), so panels line up.
"""

import asyncio
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from balancer import __version__
from balancer.accounting import admission_metrics, gpu_metrics, outcome_metrics
from balancer.accounting.configuration import ConfigurationSeries
from balancer.accounting.outcomes import OutcomeLog
from balancer.accounting.record import Record
from balancer.accounting.tier_metrics import TierSeries
from balancer.core.admission import Line
from balancer.core.fleet.fleet import Fleet
from balancer.core.types import Health, ReplicaId

_TTFT_EDGES = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)  # fmt: skip
_DURATION_EDGES = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip

OTHER = "other"


class Histogram:
    """Counts by bucket; `edges` are upper bounds, inclusive, as Prometheus has them."""

    __slots__ = ("_counts", "_edges", "_sum")

    def __init__(self, edges: tuple[float, ...]) -> None:
        self._edges = edges
        self._counts = [0] * (len(edges) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._edges, value)] += 1
        self._sum += value

    def samples(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative buckets and sum."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for edge, count in zip((*map(str, self._edges), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((edge, total))
        return buckets, self._sum


@dataclass(slots=True)
class _ModelSeries:
    ttft: Histogram = field(default_factory=lambda: Histogram(_TTFT_EDGES))
    duration: Histogram = field(default_factory=lambda: Histogram(_DURATION_EDGES))
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    matched_tokens: int = 0


@dataclass(slots=True)
class _ReplicaSeries:
    prediction_error: Histogram = field(default_factory=lambda: Histogram(_TTFT_EDGES))
    predicted_hit_tokens: int = 0
    actual_hit_tokens: int = 0


class Loop(Protocol):
    """What is told of a side loop: `kind` says what it does, `subject` for which replica."""

    kind: str
    subject: str
    last_success_s: float
    restarts: int


class Metrics(Collector):
    def __init__(self, fleet: Fleet, policy: str, line: Line, loops: Iterable[Loop] = ()) -> None:
        """`loops`: those beside the requests."""
        self._loops = loops
        self._fleet = fleet
        self._policy = policy
        self._line = line
        self._held_s = Histogram(_TTFT_EDGES)
        self._replicas: defaultdict[str, _ReplicaSeries] = defaultdict(_ReplicaSeries)
        self._requests: Counter[tuple[str, str, int, str]] = Counter()
        self._models: dict[str, _ModelSeries] = {}
        self._attempts: Counter[tuple[str, str, str]] = Counter()
        self._broken_streams: Counter[str] = Counter()
        self._observer_failures: Counter[tuple[str, str]] = Counter()
        self.configuration = ConfigurationSeries()
        self.tiers = TierSeries()
        self.outcomes: OutcomeLog | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def add(self, record: Record) -> None:
        """Count a request that has ended."""
        model = self._label(record.model)
        self._requests[record.path, model, record.status, record.ended_by] += 1
        series = self._models.get(model)
        if series is None:
            series = self._models[model] = _ModelSeries()
        if record.status == 200:
            series.duration.observe(record.ended_at - record.arrived_at)
            if record.token_at is not None:
                series.ttft.observe(record.token_at - record.arrived_at)
        usage = record.usage
        if usage is not None:
            series.prompt_tokens += usage.prompt_tokens
            series.output_tokens += usage.output_tokens
            series.cached_tokens += usage.cached_tokens or 0
        series.matched_tokens += record.matched_tokens
        if record.mended is not None:
            self.tiers.healed(*record.mended)
        if record.waited_s is not None and record.ended_by != "refusal":
            self._held_s.observe(record.waited_s)
        if record.replica is not None and record.status == 200:
            self._compare(self._replicas[record.replica], record)

    def _compare(self, series: _ReplicaSeries, record: Record) -> None:
        """What was expected of the replica with what came: only of what both are known."""
        if record.predicted_ttft_s is not None and record.token_at is not None:
            series.prediction_error.observe(abs(record.token_at - record.sent_at - record.predicted_ttft_s))
        if record.usage is not None and record.usage.cached_tokens is not None:
            series.predicted_hit_tokens += record.matched_tokens
            series.actual_hit_tokens += record.usage.cached_tokens

    def attempted(self, replica: str, reason: str, outcome: str) -> None:
        """Count an attempt that has ended."""
        self._attempts[replica, reason, outcome] += 1

    def stream_broke(self, outcome: str) -> None:
        """Count a stream whose replica was lost after the client had been given a part of it."""
        self._broken_streams[outcome] += 1

    def observer_failed(self, observer: str, replica: str) -> None:
        self._observer_failures[observer, replica] += 1

    def render(self, accept: str) -> tuple[bytes, str]:
        """The page, and its content type by what the scraper accepts."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "balancer_build", "Version and policy.", {"version": __version__, "policy": self._policy}
        )
        yield from self.configuration.collect()
        yield GaugeMetricFamily(
            "balancer_asyncio_tasks",
            "Tasks of the event loop: side loops, and those of client connections.",
            value=_tasks(),
        )
        yield from self._collect_requests()
        yield from self._collect_replicas()
        yield from self._collect_health()
        yield from self._collect_loops()
        yield from self.tiers.collect()
        yield from gpu_metrics.collect(self._fleet.gpus, self._fleet, monotonic())
        yield from outcome_metrics.collect(self.outcomes)

    def _collect_requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "balancer_requests",
            "Requests that have ended, by route, model, status told to the client (499: it left) and who ended them.",
            labels=("route", "model_name", "code", "ended_by"),
        )
        for (path, model, status, ended_by), count in self._requests.items():
            requests.add_metric((path, model, str(status), ended_by), count)
        yield requests
        ttft = HistogramMetricFamily(
            "balancer_time_to_first_token_seconds",
            "From the arrival of a streaming request to its first generated token.",
            labels=("model_name",),
        )
        duration = HistogramMetricFamily(
            "balancer_request_duration_seconds",
            "From the arrival of a request to the end of its answer (200 only).",
            labels=("model_name",),
        )
        tokens = CounterMetricFamily(
            "balancer_tokens",
            "Tokens by kind: prompt, cached and output as the replicas' usage told, matched as the index believed.",
            labels=("model_name", "kind"),
        )
        for model, series in self._models.items():
            ttft.add_metric((model,), *series.ttft.samples())
            duration.add_metric((model,), *series.duration.samples())
            for kind in ("prompt", "cached", "output", "matched"):
                tokens.add_metric((model, kind), getattr(series, f"{kind}_tokens"))
        yield ttft
        yield duration
        yield tokens
        attempts = CounterMetricFamily(
            "balancer_attempts",
            "Attempts by replica, reason of the choice, and how they ended.",
            labels=("replica", "reason", "outcome"),
        )
        for key, count in self._attempts.items():
            attempts.add_metric(key, count)
        yield attempts
        broken = CounterMetricFamily(
            "balancer_broken_streams",
            "Streams whose replica was lost after a part was given: resumed by another, ended (only the end was lacking), "
            "unsound (another could not go on with it), stranded (none was there).",
            labels=("outcome",),
        )
        for outcome in ("resumed", "ended", "unsound", "stranded"):
            broken.add_metric((outcome,), self._broken_streams[outcome])
        yield broken
        yield from admission_metrics.collect(self._line, self._label, monotonic())
        held = HistogramMetricFamily(
            "balancer_held_seconds",
            "How long requests waited in the balancer, of those that did and were not refused.",
        )
        held.add_metric((), *self._held_s.samples())
        yield held
        yield from self._collect_expectations()

    def _collect_expectations(self) -> Iterator[Metric]:
        labels = ("replica",)
        error = HistogramMetricFamily(
            "balancer_ttft_prediction_error_seconds",
            "How far off the TTFT of streams was predicted, from dispatch to first token, whichever way.",
            labels=labels,
        )
        predicted = CounterMetricFamily(
            "balancer_predicted_hit_tokens",
            "Prompt tokens that the index believed to be cached, of answers whose usage tells cached tokens.",
            labels=labels,
        )
        actual = CounterMetricFamily(
            "balancer_actual_hit_tokens",
            "Prompt tokens that were cached, of the same answers.",
            labels=labels,
        )
        for replica, series in self._replicas.items():
            error.add_metric((replica,), *series.prediction_error.samples())
            predicted.add_metric((replica,), series.predicted_hit_tokens)
            actual.add_metric((replica,), series.actual_hit_tokens)
        yield from (error, predicted, actual)

    def _collect_replicas(self) -> Iterator[Metric]:
        labels = ("replica",)
        healthy = GaugeMetricFamily(
            "balancer_replica_healthy", "1 while the replica is healthy.", labels=labels
        )
        in_flight = GaugeMetricFamily(
            "balancer_requests_in_flight", "Attempts sent to the replica and not ended.", labels=labels
        )
        pending = GaugeMetricFamily(
            "balancer_pending_prefill_tokens",
            "Uncached prompt tokens (estimated) sent to the replica and not yet at their first token.",
            labels=labels,
        )
        engine = GaugeMetricFamily(
            "balancer_engine_load",
            "What the replica's own metrics told last: running, waiting (requests), kv_usage (0 to 1).",
            labels=("replica", "signal"),
        )
        sampled = GaugeMetricFamily(
            "balancer_engine_sample_age_seconds",
            "How long ago the replica's metrics were last read.",
            labels=labels,
        )
        failures = CounterMetricFamily(
            "balancer_observer_failures",
            "Side loops that could not read a replica: health, metrics, models.",
            labels=("observer", "replica"),
        )
        draining = GaugeMetricFamily(
            "balancer_replica_draining",
            "1 while the replica gets no new requests: it drains, or has left.",
            labels=labels,
        )
        now = monotonic()
        sent: Counter[str] = Counter()
        owed_tokens: Counter[str] = Counter()
        for replica in (
            *self._fleet,
            *self._fleet.leaving,
        ):  # a successor may have the name of one that is leaving
            sent[replica.id] += replica.in_flight
            owed_tokens[replica.id] += replica.pending_tokens
        for name, count in sent.items():
            in_flight.add_metric((name,), count)
            pending.add_metric((name,), owed_tokens[name])
            known = self._fleet.get(ReplicaId(name))
            draining.add_metric((name,), known is None or known.draining)
        for replica in self._fleet:
            unasked = replica.external and replica.health is Health.UNKNOWN  # nobody probes it
            healthy.add_metric((replica.id,), replica.health is Health.HEALTHY or unasked)
            sample = replica.sample
            if sample is not None:
                sampled.add_metric((replica.id,), now - sample.taken_at)
                for signal in ("running", "waiting", "kv_usage"):
                    value = getattr(sample, signal)
                    if value is not None:
                        engine.add_metric((replica.id, signal), value)
        yield admission_metrics.stale(self._fleet, now)
        for key, count in self._observer_failures.items():
            failures.add_metric(key, count)
        yield from (healthy, draining, in_flight, pending, engine, sampled, failures)

    def _collect_health(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "balancer_replica_state", "1 for the state that the replica is in.", labels=("replica", "state")
        )
        age = GaugeMetricFamily(
            "balancer_replica_state_age_seconds", "How long it has been in that state.", labels=("replica",)
        )
        faults = CounterMetricFamily(
            "balancer_replica_faults",
            "How often the replica was taken out, by reason: probe, refused, dead, errors, no_first_token, stalled.",
            labels=("replica", "reason"),
        )
        panic = GaugeMetricFamily(
            "balancer_panic",
            "1 while too few replicas of the model are healthy, so that suspected ones are tried too.",
            labels=("model_name",),
        )
        now = monotonic()
        for replica in self._fleet:
            for each in Health:
                state.add_metric((replica.id, each), replica.health is each)
            if replica.turned_s is not None:
                age.add_metric((replica.id,), now - replica.turned_s)
            for reason, count in replica.faults.items():
                faults.add_metric((replica.id, reason), count)
        for model in self._fleet.models():
            panic.add_metric((model,), self._fleet.panics(model))
        yield from (state, age, faults, panic)

    def _collect_loops(self) -> Iterator[Metric]:
        labels = ("loop", "replica")
        age = GaugeMetricFamily(
            "balancer_loop_last_success_age_seconds",
            "How long ago the side loop last ran to its end, or began.",
            labels=labels,
        )
        restarts = CounterMetricFamily(
            "balancer_loop_restarts", "How often the side loop failed and was begun again.", labels=labels
        )
        now = monotonic()
        for loop in self._loops:
            age.add_metric((loop.kind, loop.subject), now - loop.last_success_s)
            restarts.add_metric((loop.kind, loop.subject), loop.restarts)
        yield from (age, restarts)

    def _label(self, model: str | None) -> str:
        """The model, if a replica serves it; a client can't make up labels."""
        if model is None:
            return ""
        if model in self._models:
            return model
        return model if any(model in (replica.models or ()) for replica in self._fleet) else OTHER


def _tasks() -> int:
    """None of them, where no loop runs."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0
