"""Continuous batching with chunked prefill, as vLLM's scheduler does it.

A step has a budget of tokens. Every decoding sequence takes one; then prefills that have begun go on; then waiting
sequences are admitted first come, first served, the last one with as large a chunk as the budget leaves. A sequence
that needs a block when none is left preempts the newest one, which starts over later (its cached blocks may still be
there). Full blocks are cached when they are scheduled, those of the prompt and those of the output.

A step is started and finished: between the two its time passes, and arrivals and aborts may come in.

A decoding sequence gains one token in every step, so between two steps nothing about it needs to be touched: it is
visited only when its last block is full and when its output is complete, at steps known in advance. The cost of a
step does not grow with the number of sequences that decode in it.
"""

from collections import OrderedDict
from collections.abc import Collection

from balancer.embedded.engine.blocks import BlockPool
from balancer.embedded.engine.profiles import Profile
from balancer.embedded.engine.sequence import (
    EngineBusyError,
    EngineCounters,
    EngineRequest,
    EngineSequence,
    Phase,
    StepResult,
)


class Engine:
    """One engine. `max_num_queued_reqs` bounds all unfinished requests, running ones too, as in vLLM.

    A `pool` that is given may be other engines' too: one KV cache for all of them.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        block_size: int = 16,
        kv_capacity_tokens: int | None = None,
        max_num_seqs: int = 256,
        max_num_batched_tokens: int = 8192,
        max_num_queued_reqs: int | None = None,
        pool: BlockPool | None = None,
    ) -> None:
        if not 0 < max_num_seqs <= max_num_batched_tokens:
            raise ValueError(
                "max_num_seqs: expected 1 to max_num_batched_tokens "
                f"({max_num_batched_tokens}), got {max_num_seqs}"
            )
        self.profile = profile
        self.block_size = block_size
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens
        self.max_num_queued_reqs = max_num_queued_reqs
        self.pool = pool or BlockPool((kv_capacity_tokens or profile.kv_capacity_tokens) // block_size)
        self.counters = EngineCounters()
        self._sequences: dict[str, EngineSequence] = {}
        self._waiting: OrderedDict[str, EngineSequence] = OrderedDict()
        self._running: dict[str, EngineSequence] = {}  # oldest admission first
        self._prefilling: dict[str, EngineSequence] = {}
        self._decoding: dict[str, EngineSequence] = {}
        self._decode_context_tokens = 0
        self._steps_started = 0
        self._steps_finished = 0
        self._current: StepResult | None = None
        self._prefilled: list[EngineSequence] = []
        self._block_full_at: dict[int, list[tuple[EngineSequence, int]]] = {}
        self._complete_at: dict[int, list[tuple[EngineSequence, int]]] = {}
        self._stalled: tuple[str, int] | None = None

    def __repr__(self) -> str:
        return (
            f"<Engine {self.profile.name} running={self.num_running} (decoding {len(self._decoding)})"
            f" waiting={self.num_waiting} {self.pool!r}>"
        )

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_unfinished(self) -> int:
        return len(self._sequences)

    @property
    def decoding(self) -> Collection[EngineSequence]:
        """The sequences that decode. After `finish_step`, each of them gained one token by that step."""
        return self._decoding.values()

    @property
    def waiting(self) -> Collection[EngineSequence]:
        """The sequences that wait, next to be admitted first."""
        return self._waiting.values()

    @property
    def prefilling(self) -> Collection[EngineSequence]:
        return self._prefilling.values()

    @property
    def decode_context_tokens(self) -> int:
        """Tokens in the KV cache of the sequences that decode."""
        return self._decode_context_tokens

    def tokens_to_prefill(self, sequence: EngineSequence) -> int:
        """What is left to compute for one that prefills; for one that waits all, as if nothing were cached."""
        done = sequence.computed if sequence.phase is Phase.PREFILL else 0
        return self._target(sequence) - done

    def generated_tokens(self, sequence: EngineSequence) -> int:
        """How many output tokens the sequence has by now."""
        if sequence.phase is Phase.DECODE:
            return sequence.generated + self._steps_finished - sequence.decoding_since
        return sequence.generated

    def has_room(self, requests: int = 1) -> bool:
        """Whether so many more requests would be accepted."""
        return self.max_num_queued_reqs is None or self.num_unfinished + requests <= self.max_num_queued_reqs

    def submit(self, request: EngineRequest, now: float) -> EngineSequence:
        """Queue a request. One that could not even run alone is a ValueError."""
        if request.prompt_tokens < 1 or request.output_tokens < 1:
            raise ValueError(f"{request.request_id}: expected prompt_tokens and output_tokens of at least 1")
        if request.request_id in self._sequences:
            raise ValueError(f"request_id: {request.request_id} is in use")
        tokens = request.prompt_tokens + request.output_tokens - 1  # the last token's KV is never needed
        if self._blocks_for(tokens) > self.pool.total:
            raise ValueError(
                f"{request.request_id}: expected at most {self.pool.total * self.block_size} tokens "
                f"of prompt and output, got {tokens}"
            )
        if not self.has_room():
            self.counters.rejections += 1
            raise EngineBusyError(f"max_num_queued_reqs ({self.max_num_queued_reqs}) is reached")
        sequence = EngineSequence(request, arrived_s=now)
        self._sequences[request.request_id] = sequence
        self._waiting[request.request_id] = sequence
        return sequence

    def abort(self, request_id: str, now: float) -> bool:
        """Drop a request and free its blocks at once. False if there is no such request (any more)."""
        sequence = self._sequences.get(request_id)
        if sequence is None:
            return False
        if sequence.phase is Phase.WAITING:
            del self._waiting[request_id]
        else:
            self._stop_running(sequence)
        self._end(sequence, Phase.ABORTED, now)
        return True

    def reset_prefix_cache(self) -> bool:
        """Forget the prefix cache; False, and nothing happens, while requests hold blocks."""
        self._stalled = None
        return self.pool.reset()

    def step(self, now: float) -> StepResult | None:
        """Start a step and finish it after its duration: all that a driver needs if nothing comes in meanwhile."""
        duration_s = self.start_step(now)
        return None if duration_s is None else self.finish_step(now + duration_s)

    def start_step(self, now: float) -> float | None:
        """Schedule the next step. Returns its duration in seconds, or None if there is nothing to do."""
        if self._current is not None:
            raise RuntimeError("start_step: the step before is not finished")
        if not self._sequences:
            return None
        self._steps_started += 1
        step = self._current = StepResult()
        self._prefilled = []

        self._grow_decodes(step)
        budget = self.max_num_batched_tokens - len(self._decoding)
        attention = 0.0
        for sequence in list(self._prefilling.values()):
            if budget == 0:
                break
            chunk = min(self._target(sequence) - sequence.computed, budget)
            if sequence.phase is not Phase.PREFILL or not self._reserve(sequence, chunk, step):
                continue
            attention += self._compute(sequence, chunk)
            budget -= chunk
        while budget and self._waiting and len(self._running) < self.max_num_seqs:
            sequence = next(iter(self._waiting.values()))
            chunk = self._admit(sequence, budget, now)
            if chunk == 0:
                break
            attention += self._compute(sequence, chunk)
            budget -= chunk

        step.decode_sequences = len(self._decoding)
        step.prefill_tokens = self.max_num_batched_tokens - budget - step.decode_sequences
        step.duration_s = self.profile.step_s(
            prefill_tokens=step.prefill_tokens,
            attention=attention,
            decode_sequences=step.decode_sequences,
            decode_context_tokens=self._decode_context_tokens,
        )
        return step.duration_s

    def finish_step(self, now: float) -> StepResult:
        """Let the step's tokens come out: of all that decode, and of the prefills that are complete."""
        step = self._current
        if step is None:
            raise RuntimeError("finish_step: no step was started")
        self._current = None
        self._steps_finished = self._steps_started
        self._decode_context_tokens += len(self._decoding)
        self.counters.generation_tokens += len(self._decoding)

        for sequence, visit in self._complete_at.pop(self._steps_finished, ()):
            if sequence.visit == visit:
                self._stop_running(sequence)
                step.finished.append(self._end(sequence, Phase.FINISHED, now))
        for sequence in self._prefilled:
            if sequence.phase is Phase.PREFILL:
                self._first_token_of_prefill(sequence, step, now)

        step.stored_blocks, self.pool.stored = self.pool.stored, []
        step.evicted_blocks, self.pool.evicted = self.pool.evicted, []
        return step

    def _blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_size)

    def _target(self, sequence: EngineSequence) -> int:
        """Tokens to compute before the next one comes out; after a preemption the output so far is among them."""
        return sequence.request.prompt_tokens + sequence.generated

    def _admit(self, sequence: EngineSequence, budget: int, now: float) -> int:
        """Start a waiting sequence with what is cached and one chunk. Returns the chunk, 0 if blocks are lacking."""
        request = sequence.request
        if self._stalled == (request.request_id, self.pool.available):
            return 0  # nothing was freed since it last found no room
        target = self._target(sequence)
        # At least one token is computed, even if all of them are cached: the next token comes out of it.
        matched = self.pool.match(request.block_hashes, (target - 1) // self.block_size)
        held = list(request.block_hashes[:matched])
        cached_tokens = matched * self.block_size
        chunk = min(target - cached_tokens, budget)
        available = self.pool.available
        needed = self._blocks_for(cached_tokens + chunk) - matched
        self.pool.reference(held)
        if not self.pool.allocate(needed):
            self.pool.release(held, private=0)
            self._stalled = (request.request_id, available)
            return 0
        self._stalled = None

        del self._waiting[request.request_id]
        self._running[request.request_id] = self._prefilling[request.request_id] = sequence
        sequence.phase = Phase.PREFILL
        sequence.computed = cached_tokens
        sequence.blocks = matched + needed
        sequence.sealed = matched
        sequence.held = held
        if sequence.cached_tokens is None:
            sequence.cached_tokens = cached_tokens
            sequence.admitted_s = now
            self.counters.prefix_cache_queries_tokens += request.prompt_tokens
            self.counters.prefix_cache_hits_tokens += cached_tokens
        return chunk

    def _compute(self, sequence: EngineSequence, chunk: int) -> float:
        """Compute the next chunk of a prefill. Returns its attention work: tokens times their mean context."""
        attention = chunk * (sequence.computed + chunk / 2)
        sequence.computed += chunk
        self._seal(sequence, sequence.computed)
        if sequence.computed == self._target(sequence):
            self._prefilled.append(sequence)
        return attention

    def _first_token_of_prefill(self, sequence: EngineSequence, step: StepResult, now: float) -> None:
        request = sequence.request
        sequence.generated += 1
        self.counters.generation_tokens += 1
        if sequence.first_token_s is None:
            sequence.first_token_s = now
            self.counters.prompt_tokens += request.prompt_tokens
            step.first_tokens.append(sequence)
        if sequence.generated == request.output_tokens:
            self._stop_running(sequence)
            step.finished.append(self._end(sequence, Phase.FINISHED, now))
            return
        del self._prefilling[request.request_id]
        self._decoding[request.request_id] = sequence
        self._decode_context_tokens += sequence.computed
        sequence.phase = Phase.DECODE
        sequence.decoding_since = self._steps_finished
        steps_left = request.output_tokens - sequence.generated
        self._visit_at(self._complete_at, self._steps_finished + steps_left, sequence)
        room = -sequence.computed % self.block_size  # slots left in the last block
        self._visit_at(self._block_full_at, self._steps_finished + 1 + room, sequence)

    @staticmethod
    def _visit_at(
        visits: dict[int, list[tuple[EngineSequence, int]]], step: int, sequence: EngineSequence
    ) -> None:
        visits.setdefault(step, []).append((sequence, sequence.visit))

    def _grow_decodes(self, step: StepResult) -> None:
        """Give a new block to each decoding sequence whose last one is full."""
        for sequence, visit in self._block_full_at.pop(self._steps_started, ()):
            if sequence.visit != visit:
                continue
            computed = sequence.computed + self._steps_finished - sequence.decoding_since
            self._seal(sequence, computed)
            if self._reserve(sequence, 1, step, computed=computed):
                self._visit_at(self._block_full_at, self._steps_started + self.block_size, sequence)

    def _reserve(
        self, sequence: EngineSequence, chunk: int, step: StepResult, *, computed: int | None = None
    ) -> bool:
        """Make room for `chunk` more tokens, at the cost of newer sequences. False if it was preempted itself."""
        computed = sequence.computed if computed is None else computed
        needed = self._blocks_for(computed + chunk) - sequence.blocks
        while not self.pool.allocate(needed):
            newest = next(reversed(self._running.values()))
            self._preempt(newest)
            step.preempted.append(newest)
            if newest is sequence:
                return False
        sequence.blocks += needed
        return True

    def _preempt(self, sequence: EngineSequence) -> None:
        self._stop_running(sequence)
        sequence.phase = Phase.WAITING
        sequence.preemptions += 1
        self.counters.preemptions += 1
        self._waiting[sequence.request.request_id] = sequence
        self._waiting.move_to_end(sequence.request.request_id, last=False)

    def _seal(self, sequence: EngineSequence, computed: int) -> None:
        """Offer the blocks that are full by now to the prefix cache."""
        hashes = sequence.request.block_hashes
        full = min(computed // self.block_size, len(hashes))
        for index in range(sequence.sealed, full):
            if self.pool.seal(hashes[index]):
                sequence.held.append(hashes[index])
        sequence.sealed = max(sequence.sealed, full)

    def _stop_running(self, sequence: EngineSequence) -> None:
        """Take the sequence out of the batch and give its blocks back; those that are full stay cached."""
        request_id = sequence.request.request_id
        del self._running[request_id]
        if sequence.phase is Phase.DECODE:
            del self._decoding[request_id]
            steps = self._steps_finished - sequence.decoding_since
            sequence.computed += steps
            sequence.generated += steps
            sequence.visit += 1
            self._decode_context_tokens -= sequence.computed
        else:
            del self._prefilling[request_id]
        self._seal(sequence, sequence.computed)
        self.pool.release(sequence.held, private=sequence.blocks - len(sequence.held))
        sequence.held = []
        sequence.blocks = sequence.sealed = 0

    def _end(self, sequence: EngineSequence, phase: Phase, now: float) -> EngineSequence:
        sequence.phase = phase
        sequence.finished_s = now
        del self._sequences[sequence.request.request_id]
        return sequence
