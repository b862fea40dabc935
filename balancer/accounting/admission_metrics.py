"""Who waits in the balancer, who may not, and how fast the queues drain."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator

from balancer.accounting.exposition import Samples, counter, gauge
from balancer.core.admission import Line
from balancer.core.admission.limits import Reason

Label = Callable[[str | None], str]
"""A model as a bounded label value."""

_HELD = gauge(
    "balancer_held_requests",
    "Requests that wait in the balancer, by model and priority: high (below 0), default, low (above 0).",
    "model_name",
    "priority",
)
_RATE = gauge(
    "balancer_queue_drain_rate",
    "Requests a second that are sent from the queue of the model, while any wait; Retry-After is computed from it.",
    "model_name",
)
_REFUSED = counter(
    "balancer_refused",
    "Requests refused for overload: queue_full, pushed_out, waited_too_long, or deadline, which passed while they waited.",
    "model_name",
    "reason",
)


def collect(line: Line, models: Iterable[str], label: Label, now: float) -> Iterator[Samples]:
    lengths: Counter[tuple[str, str]] = Counter()
    rates: defaultdict[str, float] = defaultdict(float)
    for model, rate in line.rates():
        name = label(model)
        lengths[name, "default"] += 0
        rates[name] += rate.per_s(now)
    for request in line.requests():
        lengths[label(request.model), _class(request.priority)] += 1
    refusals: Counter[tuple[str, str]] = Counter(
        {(model, reason): 0 for model in models for reason in Reason}
    )
    for (model, reason), count in line.refused.items():
        refusals[label(model), reason] += count
    yield _HELD, list(lengths.items())
    yield _RATE, [((name,), per_s) for name, per_s in rates.items()]
    yield _REFUSED, list(refusals.items())


def _class(priority: int) -> str:
    return "high" if priority < 0 else "low" if priority else "default"
