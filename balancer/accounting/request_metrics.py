"""What became of requests, added up in plain numbers: a request costs a few microseconds, a chunk of a stream a fraction of one.

Label values are bounded whatever clients send. Models that nobody serves and tenants that nobody configured fold into
`other`, and so does the route of what no replica answered and names no model that is served. A histogram begins with its
first value.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from balancer.accounting.exposition import Samples, counter, histogram
from balancer.accounting.histogram import (
    DURATION_EDGES,
    GAP_EDGES,
    PHASE_EDGES,
    TOKEN_EDGES,
    TTFT_EDGES,
    Histogram,
)
from balancer.accounting.record import Record

OTHER = "other"
FAILED = ("refused", "broken", "failed", "lost")
"""Ends of attempts that say that a replica failed: they are told with 0 before there was one (see fleet_metrics.py),"""
FAILURES = (
    (200, "replica"), (500, "answer"), (502, "refusal"), (503, "answer"), (503, "refusal"), (504, "refusal"),
)  # fmt: skip
"""and so are these ends of requests, by status and who ended them, where the route has given answers."""

_REQUESTS = counter(
    "balancer_requests",
    "Requests that have ended, by route, model, status told to the client (101: a socket; 499: it left) and who ended them: "
    "answer, refusal, client, slow_client, replica, shutdown, timeout.",
    "route",
    "model_name",
    "code",
    "ended_by",
)
_WHERE = ("model_name", "tier", "replica")
_TTFT = histogram(
    "balancer_time_to_first_token_seconds",
    "From the last byte of a streaming request to its first generated content: no comment, and no chunk that only names a role.",
    *_WHERE,
)
_GAP = histogram(
    "balancer_inter_token_latency_seconds",
    "Between two reads of a stream that brought tokens; where one brought several, an equal part for each.",
    *_WHERE,
)
_DURATION = histogram(
    "balancer_request_duration_seconds",
    "From the last byte of a request to the end of its answer (200 only).",
    *_WHERE,
)
_HELD = histogram(
    "balancer_held_seconds",
    "How long requests waited in the balancer, of those that did and were not refused.",
    *_WHERE,
)
_PHASES = histogram(
    "balancer_phase_seconds",
    "Where the time of answers (200) went: read (the request's body), understand, decide (over all attempts), wait (in the "
    "balancer), connect (where no open connection was left), first_byte (of the answer, from the last byte of the request "
    "sent), first_token (from there), stream (from there to the end).",
    "phase",
)
_TOKENS = counter(
    "balancer_tokens",
    "Tokens by kind: prompt, cached and output as the replicas' usage told, matched as the index believed.",
    "model_name",
    "tenant",
    "kind",
)
_COST = counter(
    "balancer_cost_usd",
    "What answers cost, by the prices of their tiers.",
    "model_name",
    "tier",
    "tenant",
)
_ATTEMPTS = counter(
    "balancer_attempts",
    "Attempts by replica, reason of the choice, and how they ended.",
    "replica",
    "reason",
    "outcome",
)
_RETRIES = counter(
    "balancer_retries",
    "Attempts beyond a request's first, made because the one before gave the client nothing, or broke off.",
    "model_name",
)
_BROKEN = counter(
    "balancer_broken_streams",
    "Streams whose replica was lost after a part was given: resumed by another, ended (only the end was lacking), "
    "unsound (another could not go on with it), stranded (none was there).",
    "outcome",
)
_TTFT_ERROR = histogram(
    "balancer_ttft_prediction_error_seconds",
    "How far off the TTFT of streams was predicted, from dispatch to first token, whichever way.",
    "replica",
)
_HIT_ERROR = histogram(
    "balancer_hit_prediction_error_tokens",
    "How far off the cached tokens of prompts were predicted, whichever way, of answers whose usage tells them.",
    "replica",
)
_PREDICTED = counter(
    "balancer_predicted_hit_tokens",
    "Prompt tokens that the index believed to be cached, of answers whose usage tells cached tokens.",
    "replica",
)
_ACTUAL = counter(
    "balancer_actual_hit_tokens", "Prompt tokens that were cached, of the same answers.", "replica"
)

_GIVEN = frozenset({101, 200})
"""A replica answered."""
_KINDS = ("prompt", "cached", "output", "matched")
_PHASE_NAMES = (
    "read", "understand", "decide", "wait", "connect", "first_byte", "first_token", "stream",
)  # fmt: skip


class _Place:
    """One model of one tier on one replica."""

    __slots__ = ("duration", "gap", "held", "ttft")

    def __init__(self) -> None:
        self.ttft = Histogram(TTFT_EDGES)
        self.gap = Histogram(GAP_EDGES)
        self.duration = Histogram(DURATION_EDGES)
        self.held = Histogram(TTFT_EDGES)


@dataclass(slots=True)
class _Expectation:
    ttft_error: Histogram = field(default_factory=lambda: Histogram(TTFT_EDGES))
    hit_error: Histogram = field(default_factory=lambda: Histogram(TOKEN_EDGES))
    predicted_tokens: int = 0
    actual_tokens: int = 0
    matched_tokens: int = 0  # as predicted_tokens, of all answers


class RequestSeries:
    """`tenants` are those that have labels of their own; they may be replaced at any time."""

    def __init__(self, is_served: Callable[[str], bool]) -> None:
        self._is_served = is_served
        self._known_models: set[str] = set()
        self.tenants: frozenset[str] = frozenset()
        self._requests: Counter[tuple[str, str, int, str]] = Counter()
        self._places: defaultdict[tuple[str, str, str], _Place] = defaultdict(_Place)
        self._phases = {name: Histogram(PHASE_EDGES) for name in _PHASE_NAMES}
        self._tokens: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * len(_KINDS))
        self._usd: defaultdict[tuple[str, str, str], float] = defaultdict(float)
        self._attempts: Counter[tuple[str, str, str]] = Counter()
        self._retries: Counter[str] = Counter()
        self._broken: Counter[str] = Counter()
        self._expectations: defaultdict[str, _Expectation] = defaultdict(_Expectation)

    def label(self, model: str | None) -> str:
        """The model, if a replica serves it; a client can't make up labels."""
        if model is None:
            return ""
        if model in self._known_models:
            return model
        if not self._is_served(model):
            return OTHER
        self._known_models.add(model)
        return model

    def add(self, record: Record) -> None:
        """Count a request that has ended."""
        model, tier = _served(record)
        model = self.label(model)
        status, replica = record.status, record.replica
        route = record.path if status in _GIVEN or model not in {OTHER, ""} else OTHER
        self._requests[route, model, status, record.ended_by] += 1
        tenant = record.tenant
        if tenant and tenant not in self.tenants:
            tenant = OTHER
        usage = record.usage
        if usage is not None or record.matched_tokens:
            tokens = self._tokens[model, tenant]
            tokens[3] += record.matched_tokens
            if usage is not None:
                tokens[0] += usage.prompt_tokens
                tokens[1] += usage.cached_tokens or 0
                tokens[2] += usage.output_tokens
        if record.usd is not None:
            self._usd[model, record.usd_tier, tenant] += record.usd
        if record.attempts > 1:
            self._retries[model] += record.attempts - 1
        if replica is None:
            return
        if record.waited_s is not None and record.ended_by != "refusal":
            self._places[model, tier, replica].held.observe(record.waited_s)
        if status == 200:
            self._answered(self._places[model, tier, replica], record)
            self._compare(self._expectations[replica], record)

    def _answered(self, place: _Place, record: Record) -> None:
        arrived, token_at, ended, phases = record.arrived_at, record.token_at, record.ended_at, self._phases
        place.duration.observe(ended - arrived)
        if record.begun_at is not None:
            phases["read"].observe(arrived - record.begun_at)
        if record.understood_at is not None:
            phases["understand"].observe(record.understood_at - arrived)
        phases["decide"].observe(record.decided_s)
        if record.waited_s is not None:
            phases["wait"].observe(record.waited_s)
        if record.connected_s is not None:
            phases["connect"].observe(record.connected_s)
        heard_at = record.heard_at
        if heard_at is not None and record.asked_at is not None:
            phases["first_byte"].observe(heard_at - record.asked_at)
        if token_at is not None:
            place.ttft.observe(token_at - arrived)
            phases["stream"].observe(ended - token_at)
            if heard_at is not None and not record.resumed:
                phases["first_token"].observe(token_at - heard_at)

    def _compare(self, series: _Expectation, record: Record) -> None:
        """What was expected of the replica with what came: only of what both are known."""
        if record.predicted_ttft_s is not None and record.token_at is not None:
            series.ttft_error.observe(abs(record.token_at - record.sent_at - record.predicted_ttft_s))
        matched, usage = record.matched_tokens, record.usage
        series.matched_tokens += matched
        if usage is not None and usage.cached_tokens is not None:
            series.predicted_tokens += matched
            series.actual_tokens += usage.cached_tokens
            series.hit_error.observe(abs(matched - usage.cached_tokens))

    def gaps(self, record: Record) -> Callable[[float, int], None]:
        """To be called with each gap between the tokens of the attempt that is about to be sent, and how often it was seen."""
        model, tier = _served(record)
        return self._places[self.label(model), tier, record.replica or ""].gap.observe

    def refused(self, status: int, ended_by: str = "refusal") -> None:
        """Count a request that ended before it was understood: its key, route, method or body."""
        self._requests[OTHER, "", status, ended_by] += 1

    def attempted(self, replica: str, reason: str, outcome: str) -> None:
        self._attempts[replica, reason, outcome] += 1

    def stream_broke(self, outcome: str) -> None:
        self._broken[outcome] += 1

    def spent_usd(self, tier: str) -> float:
        """What the tier's answers cost, as far as prices are known."""
        return sum(usd for (_, name, _), usd in self._usd.items() if name == tier)

    def hits(self) -> Iterator[tuple[str, int, int]]:
        """Replica, prompt tokens that the index believed to be cached there, and those that answers told."""
        for replica, series in self._expectations.items():
            yield replica, series.matched_tokens, series.actual_tokens

    def collect(self) -> Iterator[Samples]:
        failures = {
            (route, model, *how): 0
            for route, model, status, _ in self._requests
            if status == 200
            for how in FAILURES
        }
        yield (
            _REQUESTS,
            [
                ((route, model, str(status), ended_by), count)
                for (route, model, status, ended_by), count in (failures | self._requests).items()
            ],
        )
        places = list(self._places.items())
        for family, kind in ((_TTFT, "ttft"), (_GAP, "gap"), (_DURATION, "duration"), (_HELD, "held")):
            found = ((where, getattr(place, kind)) for where, place in places)
            yield family, ((where, values) for where, values in found if values)
        yield _PHASES, [((name,), values) for name, values in self._phases.items()]
        yield (
            _TOKENS,
            [
                ((*whose, kind), count)
                for whose, counts in self._tokens.items()
                for kind, count in zip(_KINDS, counts, strict=True)
            ],
        )
        yield _COST, list(self._usd.items())
        failed = {(replica, why, how): 0 for replica, why, _ in self._attempts for how in FAILED}
        yield _ATTEMPTS, list((failed | self._attempts).items())
        yield (
            _RETRIES,
            [((model,), self._retries[model]) for model in sorted(self._known_models | self._retries.keys())],
        )
        outcomes = ("resumed", "ended", "unsound", "stranded")
        yield _BROKEN, [((outcome,), self._broken[outcome]) for outcome in outcomes]
        yield from self._collect_expectations()

    def _collect_expectations(self) -> Iterator[Samples]:
        found = [((replica,), series) for replica, series in self._expectations.items()]
        yield _TTFT_ERROR, [(key, series.ttft_error) for key, series in found if series.ttft_error]
        yield _HIT_ERROR, [(key, series.hit_error) for key, series in found if series.hit_error]
        yield _PREDICTED, [(key, series.predicted_tokens) for key, series in found]
        yield _ACTUAL, [(key, series.actual_tokens) for key, series in found]


def _served(record: Record) -> tuple[str | None, str]:
    """The model that answers, and its tier."""
    tiered = record.tiered
    return (record.model, "") if tiered is None else (tiered.model, tiered.tier)
