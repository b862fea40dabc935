"""/v1/messages and its count_tokens: Anthropic's API as vLLM 0.32 answers it, plain and streamed."""

from collections.abc import Iterator
from typing import Any

import msgspec
from aiohttp import web

from balancer.embedded.prompts import Message, Sampling, render_chat
from balancer.embedded.replica import Choice, Generation, Replica, replica_of
from balancer.embedded.streaming import stream_generation
from balancer.embedded.wire import InvalidBodyError, json_response, named_event, new_id, read_body


class CountTokensRequest(msgspec.Struct, kw_only=True):
    model: str
    messages: list[Message]
    system: str | list[str | dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None


class MessagesRequest(CountTokensRequest, kw_only=True):
    max_tokens: int
    stop_sequences: list[str] | None = None
    stream: bool | None = False
    cache_salt: str | None = None


def _prompt(replica: Replica, body: CountTokensRequest) -> list[int]:
    system = [] if body.system is None else [Message(role="system", content=body.system)]
    return render_chat(replica.tokenizer, [*system, *body.messages], body.tools)


async def create(request: web.Request) -> web.StreamResponse:
    replica = replica_of(request)
    body = await read_body(request, MessagesRequest)
    if body.max_tokens < 1:
        raise InvalidBodyError("value_error", "body.max_tokens", "Value error, max_tokens must be positive")
    model = replica.check_model(body.model)
    sampling = Sampling(stop=body.stop_sequences, stream=body.stream, cache_salt=body.cache_salt)
    generation = replica.generate([_prompt(replica, body)], sampling, max_tokens=body.max_tokens)
    shape = MessagesShape(generation, model=model, id_=new_id("chatcmpl-", request))
    if body.stream:
        return await stream_generation(request, replica, generation, shape)
    await replica.finish(generation.batch)
    choice = generation.choices[0]
    choice.sent = replica.produced(choice)
    return json_response(shape.whole(choice))


async def count_tokens(request: web.Request) -> web.Response:
    replica = replica_of(request)
    body = await read_body(request, CountTokensRequest)
    replica.check_model(body.model)
    tokens = len(_prompt(replica, body))
    return json_response({"input_tokens": tokens, "context_management": {"original_input_tokens": tokens}})


class MessagesShape:
    def __init__(self, generation: Generation, *, model: str, id_: str) -> None:
        self.generation = generation
        self._head = {"id": id_, "type": "message", "role": "assistant"}
        self._model = model

    @property
    def _usage(self) -> dict[str, int]:
        return {
            "input_tokens": self.generation.prompt_tokens - self.generation.cached_tokens,
            "output_tokens": self.generation.completion_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": self.generation.cached_tokens,
        }

    def _stop(self, choice: Choice) -> dict[str, str | int | None]:
        answer = choice.continuation
        if answer.finish_reason == "length":
            return {"stop_reason": "max_tokens", "stop_sequence": None}
        if answer.stop_reason is not None:
            return {"stop_reason": "stop_sequence", "stop_sequence": answer.stop_reason}
        return {"stop_reason": "end_turn", "stop_sequence": None}

    def whole(self, choice: Choice) -> dict[str, Any]:
        stop = {key: value for key, value in self._stop(choice).items() if value is not None}
        content = [{"type": "text", "text": choice.continuation.text}]
        return {**self._head, "content": content, "model": self._model, **stop, "usage": self._usage}

    def begin(self) -> Iterator[bytes]:
        usage = {"input_tokens": self.generation.prompt_tokens, "output_tokens": 0}
        message: dict[str, Any] = {
            **self._head,
            "content": [],
            "model": self._model,
            "stop_reason": None,
            "stop_sequence": None,
        }
        yield _event("message_start", message={**message, "usage": usage})
        yield _event("content_block_start", content_block={"type": "text", "text": ""}, index=0)

    def delta(self, choice: Choice, start: int) -> Iterator[bytes]:
        if text := choice.text(start, choice.sent):
            yield _event("content_block_delta", delta={"type": "text_delta", "text": text}, index=0)

    def end(self) -> Iterator[bytes]:
        yield _event("content_block_stop", index=0)
        yield _event("message_delta", delta=self._stop(self.generation.choices[0]), usage=self._usage)
        yield _event("message_stop")

    def failure(self, message: str) -> Iterator[bytes]:
        yield _event("error", error={"type": "internal_error", "message": message})


def _event(type_: str, **fields: object) -> bytes:
    return named_event(type_, {"type": type_, **fields})
