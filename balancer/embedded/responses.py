"""/v1/responses: OpenAI's Responses API as vLLM 0.32 answers it, with a bounded store of answers.

A stored answer lives in this process only: retrieving, cancelling and `previous_response_id` need the replica that
made it.
"""

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from balancer.embedded.prompts import Message, Sampling, render_chat
from balancer.embedded.replica import Choice, Generation, Replica, replica_of
from balancer.embedded.streaming import stream_generation
from balancer.embedded.wire import ApiError, json_response, named_event, new_id, read_body

MAX_STORED = 1000


class ResponsesRequest(msgspec.Struct, kw_only=True):
    input: str | list[dict[str, Any]]
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    previous_response_id: str | None = None
    tools: list[dict[str, Any]] | None = None
    stream: bool | None = False
    store: bool | None = True
    background: bool | None = False
    metadata: dict[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    cache_salt: str | None = None
    user: str | None = None
    ignore_eos: bool | None = False


@dataclass(slots=True)
class Stored:
    """An answer, finished or under way, and the conversation up to it."""

    shape: "ResponsesShape"
    conversation: list[Message]
    background: bool


STORE = web.AppKey("responses", OrderedDict[str, Stored])


async def create(request: web.Request) -> web.StreamResponse:
    replica = replica_of(request)
    body = await read_body(request, ResponsesRequest)
    model = replica.check_model(body.model)
    conversation = _conversation(request, body)
    instructions = [] if body.instructions is None else [Message(role="system", content=body.instructions)]
    prompt_ids = render_chat(replica.tokenizer, [*instructions, *conversation], body.tools)
    sampling = Sampling(stream=body.stream, cache_salt=body.cache_salt, ignore_eos=body.ignore_eos)
    generation = replica.generate([prompt_ids], sampling, max_tokens=body.max_output_tokens)
    shape = ResponsesShape(replica, generation, body, model=model)
    if body.store:
        store = request.app[STORE]
        store[shape.id] = Stored(shape, conversation, bool(body.background))
        while len(store) > MAX_STORED:
            store.popitem(last=False)
    if body.stream:
        return await stream_generation(request, replica, generation, shape, early=shape.early())
    if not body.background:
        await replica.finish(generation.batch)
    return json_response(shape.whole())


async def retrieve(request: web.Request) -> web.Response:
    return json_response(_stored(request, request.match_info["id"]).shape.whole())


async def cancel(request: web.Request) -> web.Response:
    stored = _stored(request, request.match_info["id"])
    if not stored.background:
        raise ApiError(400, "Cannot cancel a synchronous response.", "invalid_request_error", "response_id")
    replica_of(request).abort(stored.shape.generation.batch)
    return json_response(stored.shape.whole())


def _stored(request: web.Request, response_id: str) -> Stored:
    stored = request.app[STORE].get(response_id)
    if stored is None:
        message = f"Response with id '{response_id}' not found."
        raise ApiError(404, message, "invalid_request_error", "response_id")
    return stored


def _conversation(request: web.Request, body: ResponsesRequest) -> list[Message]:
    """What was said before, then the input: a text, or messages and other items in a row."""
    conversation: list[Message] = []
    if body.previous_response_id is not None:
        previous = _stored(request, body.previous_response_id)
        answer = previous.shape.choice.continuation.text
        conversation = [*previous.conversation, Message(role="assistant", content=answer)]
    if isinstance(body.input, str):
        return [*conversation, Message(role="user", content=body.input)]
    for item in body.input:
        if "content" in item and isinstance(item["content"], str | list):
            conversation.append(Message(role=str(item.get("role", "user")), content=item["content"]))
        else:
            conversation.append(Message(role=str(item.get("type", "user")), content=[item]))
    return conversation


class ResponsesShape:
    def __init__(
        self, replica: Replica, generation: Generation, body: ResponsesRequest, *, model: str
    ) -> None:
        self.id = new_id("resp_")
        self.generation = generation
        self.choice = generation.choices[0]
        self._replica = replica
        self._body = body
        self._model = model
        self._created_s = int(time.time())
        self._item_id = new_id("msg_")
        self._sequence_number = 0
        self._max_output_tokens = body.max_output_tokens or replica.max_model_len - generation.prompt_tokens

    def whole(self) -> dict[str, Any]:
        """The response as it is by now."""
        sequence, answer = self.choice.sequence, self.choice.continuation
        self.choice.sent = self._replica.produced(self.choice)
        if sequence.finished_s is None:
            return self._response("queued" if sequence.admitted_s is None else "in_progress")
        if not self.choice.complete:
            return self._response("cancelled")
        if answer.finish_reason == "length":
            return self._response("incomplete", output=[self._item()], reason="max_output_tokens")
        return self._response("completed", output=[self._item()])

    def early(self) -> Iterator[bytes]:
        for name in ("response.created", "response.in_progress"):
            yield self._event(name, response=self._response("in_progress"))

    def begin(self) -> Iterator[bytes]:
        item = self._item() | {"content": [], "status": "in_progress"}
        yield self._event("response.output_item.added", item=item, output_index=0)
        part = {"annotations": [], "text": "", "type": "output_text", "logprobs": []}
        yield self._event("response.content_part.added", **self._place, part=part)

    def delta(self, choice: Choice, start: int) -> Iterator[bytes]:
        if text := choice.text(start, choice.sent):
            yield self._event("response.output_text.delta", **self._place, delta=text, logprobs=[])

    def end(self) -> Iterator[bytes]:
        item = self._item()
        text = self.choice.continuation.text
        yield self._event("response.output_text.done", **self._place, logprobs=[], text=text)
        yield self._event("response.content_part.done", **self._place, part=item["content"][0])
        yield self._event("response.output_item.done", item=item, output_index=0)
        yield self._event("response.completed", response=self.whole())

    def failure(self, message: str) -> Iterator[bytes]:
        yield self._event("error", code="server_error", message=message, param=None)

    @property
    def _place(self) -> dict[str, Any]:
        return {"content_index": 0, "item_id": self._item_id, "output_index": 0}

    def _event(self, type_: str, **fields: object) -> bytes:
        event = named_event(type_, {**fields, "sequence_number": self._sequence_number, "type": type_})
        self._sequence_number += 1
        return event

    def _item(self) -> dict[str, Any]:
        text = self.choice.continuation.text
        content: list[dict[str, Any]] = [
            {"annotations": [], "text": text, "type": "output_text", "logprobs": None}
        ]
        return {
            "id": self._item_id, "content": content, "role": "assistant", "status": "completed",
            "type": "message", "phase": None,
        }  # fmt: skip

    def _response(
        self, status: str, *, output: list[dict[str, Any]] | None = None, reason: str | None = None
    ) -> dict[str, Any]:
        body = self._body
        return {
            "id": self.id,
            "created_at": self._created_s,
            "incomplete_details": None if reason is None else {"reason": reason},
            "instructions": body.instructions,
            "metadata": body.metadata,
            "model": self._model,
            "object": "response",
            "output": output or [],
            "parallel_tool_calls": True,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "tool_choice": "none",
            "tools": body.tools or [],
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "background": bool(body.background),
            "max_output_tokens": self._max_output_tokens,
            "max_tool_calls": None,
            "previous_response_id": body.previous_response_id,
            "prompt": None,
            "reasoning": None,
            "service_tier": "auto",
            "status": status,
            "text": None,
            "top_logprobs": None,
            "truncation": "disabled",
            "usage": None if output is None else self._usage(),
            "user": body.user,
        }

    def _usage(self) -> dict[str, Any]:
        generation = self.generation
        return {
            "input_tokens": generation.prompt_tokens,
            "input_tokens_details": {
                "cached_tokens": generation.cached_tokens, "cache_write_tokens": 0,
                "input_tokens_per_turn": [], "cached_tokens_per_turn": [],
            },
            "output_tokens": generation.completion_tokens,
            "output_tokens_details": {
                "reasoning_tokens": 0, "tool_output_tokens": 0,
                "output_tokens_per_turn": [], "tool_output_tokens_per_turn": [],
            },
            "total_tokens": generation.prompt_tokens + generation.completion_tokens,
        }  # fmt: skip
