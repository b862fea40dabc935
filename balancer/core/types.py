"""The nouns that every room shares. No behaviour beyond a repr that tells the state.

Missing is None, never zero: a signal that nobody has sent does not say "idle".
Times are seconds on one monotonic clock; load is in requests and tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple, NewType

ReplicaId = NewType("ReplicaId", str)
BlockKey = int


class RouteKind(StrEnum):
    """What a route asks of the engine; it tells where the prompt stands in the body."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    MESSAGES = "messages"
    EMBEDDINGS = "embeddings"
    SCORING = "scoring"
    AUDIO = "audio"
    TOKENIZE = "tokenize"
    OTHER = "other"

    @property
    def generates(self) -> bool:
        """Whether an answer is decoded token by token, so that a prefix cache pays."""
        return self in _GENERATING


_GENERATING = frozenset({RouteKind.CHAT, RouteKind.COMPLETIONS, RouteKind.RESPONSES, RouteKind.MESSAGES})


class Reads(IntEnum):
    """How much of a request a policy looks at; each level includes those before it."""

    ENVELOPE = 0  # model and stream flag
    CONVERSATION = 1  # session, first user turn
    PROMPT = 2  # every block


class Health(StrEnum):
    """What probes, traffic and the engine's own metrics say of a replica (core/fleet/health.py)."""

    UNKNOWN = "unknown"  # not heard of yet: used, but after those that are known to serve
    HEALTHY = "healthy"
    EJECTED = "ejected"  # its answers failed or it stands still, whatever its probe says
    UNHEALTHY = "unhealthy"  # its probe fails, or its port is closed
    ASLEEP = "asleep"


class Fault(StrEnum):
    """Why a replica was taken out."""

    PROBE = "probe"  # /health fails, or does not answer
    REFUSED = "refused"  # its port is closed: no doubt is left
    DEAD = "dead"  # its engine said that it is dead, or gave up what it had
    ERRORS = "errors"  # its answers to requests fail
    NO_FIRST_TOKEN = "no_first_token"  # noqa: S105 - it owes one, while others give theirs
    STALLED = "stalled"  # its engine stands still while it has work


@dataclass(frozen=True, slots=True)
class EngineSample:
    """One reading of a vLLM metrics page, over all its engines (data parallel ranks).

    Every field but `taken_at` may be None: the page did not carry it. Gauges of requests are summed over
    ranks; `kv_usage` (0 to 1) is the highest rank's, since that rank is the one that preempts.
    """

    taken_at: float
    running: float | None = None
    waiting: float | None = None
    kv_usage: float | None = None
    prefix_queries_tokens: float | None = None
    prefix_hits_tokens: float | None = None
    prompt_tokens: float | None = None
    generation_tokens: float | None = None
    preemptions: float | None = None
    asleep: bool | None = None
    block_size_tokens: int | None = None
    kv_capacity_tokens: int | None = None
    process_start_time_s: float | None = None


@dataclass(slots=True)
class RequestView:
    """What the balancer understood of a request. An unreadable body gives a view with no model and no prompt, never
    an error: the replica answers it, as it would have without a balancer.

    `block_keys` are the keys of the whole blocks among the canonical prompt's `prompt_bytes` (core/prefix/blocks.py),
    `prompt_tokens` an estimate, unless `tokens_exact`; `session` is what a header named, else an id in the body, and
    `conversation` a key of the first user turn. They are there only for policies that ask for them.
    `previous_response` is the stored response that this one goes on from.

    `priority` (lower first), `deadline` (on our clock) and `tenant` say in which order it goes, if it has to wait.

    Where another model may yet be chosen for it, `prompt` is the canonical prompt and `salt` its `cache_salt`, of which that
    model's keys are made. `among` are the replicas that may have it; None: all that serve the model. `number` is its place in the
    journal, if there is one; a request made of it has none yet.
    """

    route: RouteKind
    model: str | None = None
    stream: bool = False
    block_keys: list[BlockKey] = field(default_factory=list)
    prompt_bytes: int = 0
    prompt_tokens: int = 0
    tokens_exact: bool = False
    session: str | None = None
    conversation: bytes = b""
    previous_response: str | None = None
    priority: int = 0
    deadline: float | None = None
    tenant: str = ""
    prompt: bytes | None = field(default=None, repr=False)
    salt: str = ""
    among: frozenset[ReplicaId] | None = None
    number: int = field(default=0, init=False, repr=False, compare=False)


class Parts(NamedTuple):
    """What a cost in seconds is made of: waiting before the request begins, its own prefill, decoding there, and what it does
    to the others.
    """

    wait_s: float
    work_s: float
    load_s: float
    harm_s: float


class Candidate(NamedTuple):
    """One replica as the policy saw it: the receipt of a decision is a sequence of these, best first. `parts` are there where
    the policy counts in seconds.
    """

    replica: ReplicaId
    cost: float
    matched_tokens: int = 0
    in_flight: int = 0
    pending_tokens: int = 0
    parts: Parts | None = None


class Decision(NamedTuple):
    """Which replica gets this attempt, why, and what is charged to it until it has answered.

    `wait`: rather not yet. `predicted_s` is the TTFT expected there, where the policy predicts one.
    """

    replica: ReplicaId
    reason: str
    matched_tokens: int = 0
    uncached_tokens: int = 0
    candidates: Sequence[Candidate] = ()
    wait: bool = False
    predicted_s: float | None = None


class Usage(NamedTuple):
    """Tokens of one answer. `cached_tokens` is None unless the replica runs with --enable-prompt-tokens-details."""

    prompt_tokens: int
    output_tokens: int
    cached_tokens: int | None = None


Json = Any
"""A decoded JSON value: dict, list, str, int, float, bool or None."""
