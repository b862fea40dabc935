"""How the replicas are, what is known of them and how old that is; and the side loops that ask.

Counters of trouble begin at 0: where a series is born with its first event, Prometheus sees no increase.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Protocol

from balancer.accounting.exposition import Samples, counter, gauge
from balancer.core.fleet.fleet import Fleet
from balancer.core.types import Fault, Health, ReplicaId

_STATE = gauge(
    "balancer_replica_state",
    "1 for the state that the replica is in: unknown, healthy, ejected, unhealthy, asleep.",
    "replica",
    "state",
)
_STATE_AGE = gauge("balancer_replica_state_age_seconds", "How long it has been in that state.", "replica")
_HEALTHY = gauge("balancer_replica_healthy", "1 while the replica is healthy.", "replica")
_HALF_OPEN = gauge(
    "balancer_replica_half_open",
    "1 while the replica is ejected and its term is over, so that one request at a time may try it.",
    "replica",
)
_DRAINING = gauge(
    "balancer_replica_draining",
    "1 while the replica gets no new requests: it drains, or has left the configuration and ends what it has.",
    "replica",
)
_FAULTS = counter(
    "balancer_replica_faults",
    "How often the replica was taken out, by reason: probe, refused (its port), dead (its engine), errors, no_first_token, "
    "stalled.",
    "replica",
    "reason",
)
_PANIC = gauge(
    "balancer_panic",
    "1 while too few replicas of the model are healthy, so that suspected ones are tried too.",
    "model_name",
)
_SERVES = gauge(
    "balancer_replica_serves", "1 for each model that the replica serves.", "replica", "model_name"
)
_IN_FLIGHT = gauge("balancer_requests_in_flight", "Attempts sent to the replica and not ended.", "replica")
_PENDING = gauge(
    "balancer_pending_prefill_tokens",
    "Uncached prompt tokens (estimated) sent to the replica and not yet at their first token.",
    "replica",
)
_ENGINE = gauge(
    "balancer_engine_load",
    "What the replica's own metrics told last: running, waiting (requests), kv_usage (0 to 1).",
    "replica",
    "signal",
)
_SAMPLE_AGE = gauge(
    "balancer_engine_sample_age_seconds", "How long ago the replica's metrics were last read.", "replica"
)
_STALE = gauge(
    "balancer_replica_metrics_stale",
    "1 while the replica's own metrics are too old or do not tell who waits: it is judged by what this balancer has there.",
    "replica",
)
_HITS = counter(
    "balancer_hit_tokens",
    "Prompt tokens found cached, by who says so: index (this balancer believed so, of all answers), usage (the answers told), "
    "engine (the replica's own counter, over all its clients).",
    "replica",
    "source",
)
_FAILURES = counter(
    "balancer_observer_failures",
    "Side loops that could not read a replica: health, metrics, models.",
    "observer",
    "replica",
)
_LOOP_AGE = gauge(
    "balancer_loop_last_success_age_seconds",
    "How long ago the side loop last ran to its end, or began.",
    "loop",
    "replica",
)
_RESTARTS = counter(
    "balancer_loop_restarts", "How often the side loop failed and was begun again.", "loop", "replica"
)
_OBSERVERS = ("health", "metrics", "models")


class Loop(Protocol):
    """What is told of a side loop: `kind` says what it does, `subject` for which replica."""

    kind: str
    subject: str
    last_success_s: float
    restarts: int


def collect(fleet: Fleet, now: float) -> Iterator[Samples]:
    """The replicas, those that are leaving included where they still have something."""
    yield from _traffic(fleet)
    yield from _health(fleet, now)
    yield from _engines(fleet, now)


def _traffic(fleet: Fleet) -> Iterator[Samples]:
    sent: Counter[str] = Counter()
    owed_tokens: Counter[str] = Counter()
    for replica in (*fleet, *fleet.leaving):  # a successor may have the name of one that is leaving
        sent[replica.id] += replica.in_flight
        owed_tokens[replica.id] += replica.pending_tokens
    known = {name: fleet.get(ReplicaId(name)) for name in sent}
    yield _IN_FLIGHT, [((name,), count) for name, count in sent.items()]
    yield _PENDING, [((name,), count) for name, count in owed_tokens.items()]
    yield _DRAINING, [((name,), each is None or each.draining) for name, each in known.items()]


def _health(fleet: Fleet, now: float) -> Iterator[Samples]:
    replicas = tuple(fleet)
    yield _HEALTHY, [((r.id,), r.health is Health.HEALTHY) for r in replicas]
    yield _STATE, [((r.id, each), r.health is each) for r in replicas for each in Health]
    yield _STATE_AGE, [((r.id,), now - r.turned_s) for r in replicas if r.turned_s is not None]
    yield _HALF_OPEN, [((r.id,), r.half_open(now)) for r in replicas]
    yield _FAULTS, [((r.id, why), r.faults[why]) for r in replicas for why in Fault]
    yield _PANIC, [((model,), fleet.panics(model)) for model in fleet.models()]
    yield _SERVES, [((r.id, model), 1.0) for r in replicas for model in sorted(r.models or ())]


def _engines(fleet: Fleet, now: float) -> Iterator[Samples]:
    sampled = [(replica, replica.sample) for replica in fleet if replica.sample is not None]
    yield (
        _ENGINE,
        [
            ((replica.id, signal), value)
            for replica, sample in sampled
            for signal in ("running", "waiting", "kv_usage")
            if (value := getattr(sample, signal)) is not None
        ],
    )
    yield _SAMPLE_AGE, [((replica.id,), now - sample.taken_at) for replica, sample in sampled]
    telling = {replica.id for replica, sample in sampled if sample.waiting is not None and replica.fresh(now)}
    yield _STALE, [((replica.id,), replica.id not in telling) for replica in fleet if not replica.external]


def hits(fleet: Fleet, own: Iterable[tuple[str, int, int]]) -> Samples:
    """`own`: replica, tokens that the index believed to be there, and tokens that answers told."""
    found: list[tuple[tuple[str, str], float]] = []
    for name, matched, cached in own:
        found += [((name, "index"), matched), ((name, "usage"), cached)]
    for replica in fleet:
        if replica.sample is not None and replica.sample.prefix_hits_tokens is not None:
            found.append(((replica.id, "engine"), replica.sample.prefix_hits_tokens))
    return _HITS, found


def failures(fleet: Fleet, counts: Counter[tuple[str, str]]) -> Samples:
    none = {(observer, replica.id): 0 for replica in fleet for observer in _OBSERVERS}
    return _FAILURES, list((none | counts).items())


def loops(running: Iterable[Loop], now: float) -> Iterator[Samples]:
    found = [((loop.kind, loop.subject), loop) for loop in running]
    yield _LOOP_AGE, [(key, now - loop.last_success_s) for key, loop in found]
    yield _RESTARTS, [(key, loop.restarts) for key, loop in found]
