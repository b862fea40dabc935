"""What goes through an engine: requests in, sequences inside, step results out. Data only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto


class EngineBusyError(Exception):
    """The engine holds as many unfinished requests as it may."""


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What the engine must know of a request.

    `block_hashes` are those of the full blocks of the prompt and of the output that will follow it; blocks
    beyond its end are never cached.
    """

    request_id: str
    prompt_tokens: int
    output_tokens: int
    block_hashes: Sequence[int] = ()


class Phase(Enum):
    WAITING = auto()
    PREFILL = auto()
    DECODE = auto()
    FINISHED = auto()
    ABORTED = auto()


@dataclass(slots=True, eq=False)
class EngineSequence:
    """A request on its way through the engine. Read it; only the engine writes it.

    `cached_tokens` is what the prefix cache held of the prompt at the first admission; None before it.
    """

    request: EngineRequest
    arrived_s: float
    phase: Phase = Phase.WAITING
    cached_tokens: int | None = None
    preemptions: int = 0
    admitted_s: float | None = None
    first_token_s: float | None = None
    finished_s: float | None = None

    # Lengths as of the last visit: while decoding, each step since `decoding_since` has added one to both.
    computed: int = 0
    generated: int = 0
    decoding_since: int = 0
    visit: int = 0  # changes when the sequence leaves decoding, so that visits planned before it are void

    blocks: int = 0  # all blocks in use; the first `sealed` of them were offered to the cache
    sealed: int = 0
    held: list[int] = field(default_factory=list)


@dataclass(slots=True)
class StepResult:
    """What one step did. Every sequence in `finished`, and every one still decoding, gained one token by it."""

    duration_s: float = 0.0
    prefill_tokens: int = 0
    decode_sequences: int = 0
    first_tokens: list[EngineSequence] = field(default_factory=list)
    finished: list[EngineSequence] = field(default_factory=list)
    preempted: list[EngineSequence] = field(default_factory=list)
    stored_blocks: list[int] = field(default_factory=list)
    evicted_blocks: list[int] = field(default_factory=list)


@dataclass(slots=True)
class EngineCounters:
    """Totals since the start, named as vLLM's metrics."""

    prefix_cache_queries_tokens: int = 0
    prefix_cache_hits_tokens: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    preemptions: int = 0
    rejections: int = 0
