"""One replica: what it serves, how it is, and what this balancer has in flight on it (counted by charges)."""

from collections import Counter
from dataclasses import dataclass, field

from balancer.core.fleet.gpu import UNKNOWN, GpuState
from balancer.core.fleet.progress import Attempt, Progress
from balancer.core.fleet.quota import Quota
from balancer.core.types import EngineSample, Fault, Health, ReplicaId

SAMPLE_MAX_AGE_S = 10.0
"""An older reading of a replica's metrics says nothing about its load now."""
CROWDED_KV_USAGE = 0.95
"""Above this vLLM has hardly a block for a newcomer: it waits, or another is preempted for it."""


@dataclass(slots=True)
class EngineIdentity:
    """What tells one engine process from the next, as last heard: a reading that says nothing changes nothing."""

    start_time_s: float | None = None
    prompt_tokens: float | None = None
    prefix_queries_tokens: float | None = None

    def changed(self, sample: EngineSample) -> bool:
        """Remember this reading. True if it comes from another process: a later start, or a counter gone backwards."""
        start, before = sample.process_start_time_s, self.start_time_s
        if start is not None and before is not None:
            changed = start > before + 1
        else:
            changed = _fell(self.prompt_tokens, sample.prompt_tokens) or _fell(
                self.prefix_queries_tokens, sample.prefix_queries_tokens
            )
        self.start_time_s = before if start is None else start
        if sample.prompt_tokens is not None:
            self.prompt_tokens = sample.prompt_tokens
        if sample.prefix_queries_tokens is not None:
            self.prefix_queries_tokens = sample.prefix_queries_tokens
        return changed


def _fell(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after < before


@dataclass(slots=True)
class Ejection:
    """Out until `until_s`, then half open: one attempt at a time, or another one if the last goes on for longer than that."""

    fault: Fault
    at_s: float
    until_s: float
    trial_limit_s: float
    trial: Attempt | None = None

    def half_open(self, now: float) -> bool:
        trial = self.trial
        over = trial is None or trial.ended_at is not None or now - trial.sent_at >= self.trial_limit_s
        return over and now >= self.until_s


@dataclass(slots=True)
class Terms:
    """On what terms a provider is asked, which is no engine of ours: nobody gets there who did not name its model or its tier,
    and only its answers tell how it is. `attempts` is how often one request may be tried there.
    """

    quota: Quota = field(default_factory=Quota)
    attempts: int = 2
    first_token_timeout_s: float | None = None  # of streams: what does not stream shows no first token


@dataclass(slots=True, eq=False)
class ReplicaState:
    """`turned_s` is when its health last changed, `warm_from_s` since when it warms up, if it does; `faults` counts what took
    it out.
    """

    id: ReplicaId
    url: str
    slot: int = -1  # its place in the prefix index
    models: frozenset[str] | None = None  # None: not known yet
    declared: bool = False  # the models were configured, so the replica is not asked
    max_in_flight: int | None = None
    health: Health = Health.UNKNOWN
    terms: Terms | None = None  # it is a provider's
    draining: bool = False  # gets no new requests, until an operator says otherwise
    in_flight: int = 0
    pending_tokens: int = 0
    last_chosen: int = 0
    sample: EngineSample | None = None
    in_flight_sampled: int = 0  # when the sample was taken
    crowded: bool = False  # the sample shows it at CROWDED_KV_USAGE, and tells how many wait
    engine: EngineIdentity = field(default_factory=EngineIdentity)
    foreign: float = 0.0
    progress: Progress = field(default_factory=Progress)
    fault: Fault | None = None
    faults: Counter[Fault] = field(default_factory=Counter)
    ejection: Ejection | None = None
    ejections: int = 0
    probe_failures: int = 0  # in a row, as the next two
    request_failures: int = 0
    successes: int = 0
    failing_since_s: float | None = None
    turned_s: float | None = None
    warm_from_s: float | None = None
    busy_until_s: float = 0.0  # set aside, since it said that it is busy
    declines: int = 0  # in a row
    gpu: GpuState = UNKNOWN
    last_error: str = ""
    last_error_at_s: float | None = None
    model_entries: tuple[dict[str, object], ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        models = "?" if self.models is None else ",".join(sorted(self.models))
        return (
            f"<Replica {self.id} {self.health}{' draining' * self.draining} [{models}] in flight {self.in_flight}, "
            f"pending {self.pending_tokens} tokens>"
        )

    def serves(self, model: str | None) -> bool | None:
        """True, False, or None while its models are not known."""
        if model is None:
            return True
        return None if self.models is None else model in self.models

    @property
    def external(self) -> bool:
        """Whether it is a provider."""
        return self.terms is not None

    @property
    def context_tokens(self) -> int | None:
        """The longest prompt and answer together that each of its models takes, if it told."""
        lengths = [entry.get("max_model_len") for entry in self.model_entries]
        return min((length for length in lengths if type(length) is int and length > 0), default=None)

    @property
    def at_limit(self) -> bool:
        """Whether as many of ours are there as may be."""
        return self.max_in_flight is not None and self.in_flight >= self.max_in_flight

    def fresh(self, now: float) -> bool:
        """Whether its metrics say anything about now."""
        return self.sample is not None and now - self.sample.taken_at <= SAMPLE_MAX_AGE_S

    @property
    def gone(self) -> bool:
        """Whether no doubt is left that what it had is lost."""
        return self.fault is Fault.REFUSED or self.fault is Fault.DEAD

    def half_open(self, now: float) -> bool:
        """Whether it is ejected, and may be tried."""
        ejection = self.ejection
        return self.health is Health.EJECTED and ejection is not None and ejection.half_open(now)

    def is_out(self, now: float) -> bool:
        """Whether nobody would ask it who has somebody else to ask."""
        if self.health is Health.EJECTED:
            return not self.half_open(now)
        return self.health is Health.UNHEALTHY or self.health is Health.ASLEEP

    def load(self, now: float) -> float:
        """Requests on the engine: ours, and those of other clients as far as a fresh reading told."""
        return self.in_flight + self.foreign if self.foreign and self.fresh(now) else self.in_flight

    def sampled(self, sample: EngineSample, in_flight_when_asked: int) -> bool:
        """Take a reading. What the engine has beyond all that we had in flight while it was read is foreign.
        True if it tells that the engine restarted.
        """
        self.sample = sample
        self.progress.sampled(sample)
        self.crowded = (
            sample.kv_usage is not None and sample.kv_usage >= CROWDED_KV_USAGE and sample.waiting is not None
        )
        self.in_flight_sampled = ours = max(in_flight_when_asked, self.in_flight)
        busy = [count for count in (sample.running, sample.waiting) if count is not None]
        self.foreign = max(0.0, sum(busy) - ours)
        return self.engine.changed(sample)
