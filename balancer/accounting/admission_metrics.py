"""Who waits in the balancer, who may not, how fast the queues drain, and whose metrics are too old to judge by."""

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from balancer.core.admission import Line
from balancer.core.fleet.fleet import Fleet

Label = Callable[[str | None], str]
"""A model as a bounded label value."""


def collect(line: Line, label: Label, now: float) -> Iterator[Metric]:
    held = GaugeMetricFamily(
        "balancer_held_requests",
        "Requests that wait in the balancer, by model and priority: high (below 0), default, low (above 0).",
        labels=("model_name", "priority"),
    )
    rates = GaugeMetricFamily(
        "balancer_queue_drain_rate",
        "Requests a second that are sent from the queue of the model, while any wait; Retry-After is computed from it.",
        labels=("model_name",),
    )
    refused = CounterMetricFamily(
        "balancer_refused",
        "Requests refused for overload: queue_full, pushed_out, waited_too_long, or deadline, which passed while they waited.",
        labels=("model_name", "reason"),
    )
    lengths: Counter[tuple[str, str]] = Counter()
    drained: dict[str, float] = {}
    for model, rate in line.rates():
        name = label(model)
        lengths[name, "default"] += 0
        drained[name] = drained.get(name, 0.0) + rate.per_s(now)
    for name, per_s in drained.items():
        rates.add_metric((name,), per_s)
    for request in line.requests():
        lengths[label(request.model), _class(request.priority)] += 1
    for key, count in lengths.items():
        held.add_metric(key, count)
    refusals: Counter[tuple[str, str]] = Counter()
    for (model, reason), count in line.refused.items():
        refusals[label(model), reason] += count
    for key, count in refusals.items():
        refused.add_metric(key, count)
    yield from (held, rates, refused)


def stale(fleet: Fleet, now: float) -> Metric:
    family = GaugeMetricFamily(
        "balancer_replica_metrics_stale",
        "1 while the replica's own metrics are too old or do not tell who waits: it is judged by what this balancer has there.",
        labels=("replica",),
    )
    for replica in fleet:
        told = replica.sample is not None and replica.sample.waiting is not None
        family.add_metric((replica.id,), not (told and replica.fresh(now)))
    return family


def _class(priority: int) -> str:
    return "high" if priority < 0 else "low" if priority else "default"
