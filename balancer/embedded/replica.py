"""One replica: its options, tokenizer, engine and metrics, and how a prompt becomes running sequences.

The API modules translate between wire and here; they hold no state of their own.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from balancer.embedded.continuation import Continuation, Limits, continuation
from balancer.embedded.driver import Batch, EngineDeadError, EngineDriver
from balancer.embedded.engine import (
    Engine,
    EngineRequest,
    EngineSequence,
    Phase,
    StepResult,
    hash_blocks,
    hash_root,
)
from balancer.embedded.metrics import ReplicaMetrics
from balancer.embedded.options import ReplicaOptions
from balancer.embedded.prompts import Sampling, limits
from balancer.embedded.tokenizer import Tokenizer
from balancer.embedded.wire import ApiError


@dataclass(slots=True)
class Choice:
    """One answer under way. `sent` counts the tokens that its client has."""

    index: int
    prompt_ids: list[int]
    continuation: Continuation
    sequence: EngineSequence
    sent: int = 0

    @property
    def complete(self) -> bool:
        return self.sent == len(self.continuation.token_ids)

    def text(self, start: int, end: int) -> str:
        return "".join(self.continuation.pieces[start:end])


@dataclass(slots=True)
class Generation:
    """All answers that one HTTP request asked for: `n` for each of its prompts."""

    choices: list[Choice]
    batch: Batch
    prompt_tokens: int
    prompts: int

    @property
    def cached_tokens(self) -> int:
        firsts = self.choices[:: len(self.choices) // self.prompts]
        return sum(choice.sequence.cached_tokens or 0 for choice in firsts)

    @property
    def completion_tokens(self) -> int:
        return sum(choice.sent for choice in self.choices)

    def usage(self, *, details: bool = True) -> dict[str, Any]:
        """As OpenAI's API and vLLM with --enable-prompt-tokens-details say it."""
        completion_tokens = self.completion_tokens
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "completion_tokens": completion_tokens,
        }
        if details:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached_tokens}
        return usage


class Replica:
    def __init__(self, options: ReplicaOptions) -> None:
        self.options = options
        self.started_s = int(time.time())
        self.tokenizer = Tokenizer()
        self.engine = Engine(
            options.hardware,
            block_size=options.block_size,
            kv_capacity_tokens=options.kv_tokens,
            max_num_seqs=options.max_num_seqs,
            max_num_batched_tokens=options.max_num_batched_tokens,
            max_num_queued_reqs=options.max_num_queued_reqs,
        )
        self.metrics = ReplicaMetrics(
            self.engine, model=options.model_names[0], max_model_len=options.model_len
        )
        self.driver = EngineDriver(self.engine, speed=options.speed, observe=self._observe)
        self._finish_reasons: dict[str, str] = {}
        self._serial = itertools.count()

    @property
    def model(self) -> str:
        return self.options.model_names[0]

    @property
    def max_model_len(self) -> int:
        return self.options.model_len

    def check_model(self, name: str | None) -> str:
        """The name to answer with; a name that is not served is vLLM's 404."""
        if not name:
            return self.model
        if name not in self.options.model_names:
            served = ", ".join(self.options.model_names)
            message = f"The model `{name}` does not exist. Valid aliases: {served}."
            raise ApiError(404, message, "NotFoundError", "model")
        return name

    def generate(
        self, prompts: Sequence[list[int]], sampling: Sampling, *, max_tokens: int | None
    ) -> Generation:
        """Start all answers that a request asks for, or raise the error that it gets instead."""
        root = hash_root(model=f"{self.model}/{self.options.seed}", cache_salt=sampling.cache_salt)
        several = [(ids, limits(sampling, max_tokens, len(ids), self.max_model_len)) for ids in prompts]
        self._require_room(len(prompts) * (sampling.n or 1))
        planned = [
            (prompt_ids, *self._plan(prompt_ids, end, choice, root))
            for prompt_ids, end in several
            for choice in range(sampling.n or 1)
        ]
        batch = self._submit([request for *_, request in planned], streaming=bool(sampling.stream))
        choices: list[Choice] = []
        for (prompt_ids, answer, request), sequence in zip(planned, batch.sequences, strict=True):
            choices.append(Choice(len(choices), prompt_ids, answer, sequence))
            self._finish_reasons[request.request_id] = answer.finish_reason
        return Generation(choices, batch, sum(map(len, prompts)), len(prompts))

    async def prefill(self, prompts: Sequence[list[int]]) -> None:
        """What a pooling model does: compute the prompts, and no more."""
        root = hash_root(model=f"{self.model}/{self.options.seed}")
        self._require_room(len(prompts))
        requests = []
        for prompt_ids in prompts:
            limits(Sampling(), 1, len(prompt_ids), self.max_model_len)
            hashes = hash_blocks(prompt_ids, self.options.block_size, root)
            requests.append(EngineRequest(self._request_id(), len(prompt_ids), 1, hashes))
        await self.finish(self._submit(requests, streaming=False))

    async def finish(self, batch: Batch) -> None:
        """Until the batch is done; if the client goes away first, it is aborted at once."""
        try:
            await batch.finished()
        except EngineDeadError as error:
            raise ApiError(500, str(error), "InternalServerError") from error
        finally:
            self.abort(batch)

    def abort(self, batch: Batch) -> None:
        """Drop what is unfinished of the batch, if anything is."""
        if batch.done or batch.error is not None:
            return
        unfinished = [sequence for sequence in batch.sequences if sequence.finished_s is None]
        self.driver.abort(batch)
        for sequence in unfinished:
            self._observe_end(sequence)
        self.metrics.take_gauges()

    def produced(self, choice: Choice) -> int:
        """Tokens of this answer that have come out by now."""
        return self.engine.generated_tokens(choice.sequence)

    def _plan(
        self, prompt_ids: list[int], end: Limits, choice: int, root: int
    ) -> tuple[Continuation, EngineRequest]:
        answer = continuation(prompt_ids, end, choice)
        tokens = [*prompt_ids, *answer.token_ids[:-1]]
        hashes = hash_blocks(tokens, self.options.block_size, root)
        return answer, EngineRequest(self._request_id(), len(prompt_ids), len(answer.token_ids), hashes)

    def _submit(self, requests: Sequence[EngineRequest], *, streaming: bool) -> Batch:
        try:
            return self.driver.submit(requests, streaming=streaming)
        except EngineDeadError as error:
            raise ApiError(500, str(error), "InternalServerError") from error

    def _require_room(self, requests: int) -> None:
        """All that one HTTP request asks for is queued, or none of it."""
        if not self.engine.has_room(requests):
            self.engine.counters.rejections += 1
            message = (
                "The engine is currently busy and cannot accept new requests. "
                "Please try again later or on a different instance."
            )
            raise ApiError(503, message, "Service Unavailable")

    def _request_id(self) -> str:
        return f"r{next(self._serial)}"

    def _observe(self, result: StepResult, now: float) -> None:
        self.metrics.observe_step(result, now)
        for sequence in result.finished:
            self._observe_end(sequence)

    def _observe_end(self, sequence: EngineSequence) -> None:
        reason = self._finish_reasons.pop(sequence.request.request_id, "stop")
        if sequence.phase is Phase.ABORTED:
            reason = "abort"
        self.metrics.observe_end(sequence, reason, self.engine.generated_tokens(sequence))


REPLICA = web.AppKey("replica", Replica)


def replica_of(request: web.Request) -> Replica:
    return request.app[REPLICA]
