"""/v1/chat/completions and /v1/completions: the shapes of vLLM 0.32, plain and streamed."""

import time
from collections.abc import Iterator
from typing import Any, Literal

from aiohttp import web

from balancer.embedded.prompts import ChatRequest, CompletionRequest, encode_prompt, render_chat, text_prompts
from balancer.embedded.replica import Choice, Generation, Replica, replica_of
from balancer.embedded.streaming import stream_generation
from balancer.embedded.wire import DONE, ApiError, data_event, encode, json_response, new_id, read_body

FINGERPRINT = "vllm-0.32.0-embedded"
_MARK = "\x00text\x00"
_Kind = Literal["chat", "completion"]


async def chat_completions(request: web.Request) -> web.StreamResponse:
    replica = replica_of(request)
    body = await read_body(request, ChatRequest)
    model = replica.check_model(body.model)
    prompt_ids = render_chat(
        replica.tokenizer,
        body.messages,
        body.tools,
        add_generation_prompt=body.add_generation_prompt,
        continue_final_message=body.continue_final_message,
    )
    max_tokens = body.max_completion_tokens if body.max_tokens is None else body.max_tokens
    generation = replica.generate([prompt_ids], body, max_tokens=max_tokens)
    shape = OpenAIShape("chat", replica, generation, body, model=model, id_=new_id("chatcmpl-", request))
    return await _answer(request, replica, generation, shape, stream=bool(body.stream))


async def completions(request: web.Request) -> web.StreamResponse:
    replica = replica_of(request)
    body = await read_body(request, CompletionRequest)
    model = replica.check_model(body.model)
    prompts = [encode_prompt(replica.tokenizer, prompt) for prompt in text_prompts(body.prompt)]
    generation = replica.generate(
        prompts, body, max_tokens=16 if body.max_tokens is None else body.max_tokens
    )
    shape = OpenAIShape("completion", replica, generation, body, model=model, id_=new_id("cmpl-", request))
    return await _answer(request, replica, generation, shape, stream=bool(body.stream))


async def _answer(
    request: web.Request, replica: Replica, generation: Generation, shape: "OpenAIShape", *, stream: bool
) -> web.StreamResponse:
    if stream:
        return await stream_generation(request, replica, generation, shape)
    await replica.finish(generation.batch)
    for choice in generation.choices:
        choice.sent = replica.produced(choice)
    return json_response(shape.whole())


class OpenAIShape:
    """One request's answer, as a whole or as chunks."""

    def __init__(
        self,
        kind: _Kind,
        replica: Replica,
        generation: Generation,
        body: ChatRequest | CompletionRequest,
        *,
        model: str,
        id_: str,
    ) -> None:
        self.kind = kind
        self.generation = generation
        self.body = body
        options = body.stream_options
        self.include_usage = options is not None and bool(options.include_usage)
        self.continuous_usage = (
            self.include_usage and options is not None and bool(options.continuous_usage_stats)
        )
        self._head = {
            "id": id_,
            "object": {"chat": "chat.completion", "completion": "text_completion"}[kind],
            "created": int(time.time()),
            "model": model,
        }
        self._tokenizer = replica.tokenizer
        self._templates: dict[int, tuple[bytes, bytes]] = {}
        # Most chunks differ in their text only: then they are cut from a template instead of encoded.
        self._plain = not (self.continuous_usage or body.return_token_ids or self._wants_logprobs)

    @property
    def _wants_logprobs(self) -> bool:
        return self.body.logprobs is not None and self.body.logprobs is not False

    def whole(self) -> dict[str, Any]:
        """The answer to a request that does not stream."""
        usage = self.generation.usage()
        usage["prompt_tokens_details"] |= {"created_cache_tokens": None, "multimodal_tokens": None}
        usage["completion_tokens_details"] = None
        answer: dict[str, Any] = {
            **self._head,
            "choices": [self._whole_choice(choice) for choice in self.generation.choices],
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": usage,
        }
        if self.kind == "chat":
            ids = self.generation.choices[0].prompt_ids if self.body.return_token_ids else None
            answer |= {"prompt_logprobs": None, "prompt_token_ids": ids, "prompt_text": None}
        return answer | {"kv_transfer_params": None, "ec_transfer_params": None, "metrics": None}

    def begin(self) -> Iterator[bytes]:
        if self.kind == "completion":
            return
        tokens = self.generation.prompt_tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
        for choice in self.generation.choices:
            delta = {"index": choice.index, "delta": {"role": "assistant", "content": ""}}
            ids = choice.prompt_ids if self.body.return_token_ids else None
            yield self._chunk(
                [{**delta, "logprobs": None, "finish_reason": None}],
                usage={**usage, "completion_tokens_details": None},
                prompt_token_ids=ids,
                prompt_text=None,
            )

    def delta(self, choice: Choice, start: int) -> Iterator[bytes]:
        text = choice.text(start, choice.sent)
        if start == 0 and self.body.echo and self.kind == "completion":
            text = self._tokenizer.decode(choice.prompt_ids) + text
        if self._plain and start and not choice.complete:
            head, tail = self._templates.get(choice.index) or self._template(choice)
            yield b"%b%b%b" % (head, encode(text), tail)
            return
        last = {}
        if choice.complete and not self.include_usage and all(c.complete for c in self.generation.choices):
            last["system_fingerprint"] = FINGERPRINT
        usage = {**self.generation.usage(details=False), "completion_tokens_details": None}
        yield self._chunk([self._chunk_choice(choice, start, text)], usage=usage, **last)

    def end(self) -> Iterator[bytes]:
        if self.include_usage:
            yield data_event({
                **self._chunk_head, "choices": [], "usage": self.generation.usage(), "system_fingerprint": FINGERPRINT,
            })  # fmt: skip
        yield DONE

    def failure(self, message: str) -> Iterator[bytes]:
        yield data_event(ApiError(500, message, "InternalServerError").body)
        yield DONE

    @property
    def _chunk_head(self) -> dict[str, Any]:
        if self.kind == "chat":
            return self._head | {"object": "chat.completion.chunk"}
        return self._head

    def _chunk(self, choices: list[dict[str, Any]], *, usage: dict[str, Any], **rest: object) -> bytes:
        chunk: dict[str, Any] = {**self._chunk_head, "choices": choices}
        if self.continuous_usage:
            chunk["usage"] = usage
        return data_event(chunk | rest)

    def _chunk_choice(self, choice: Choice, start: int, text: str) -> dict[str, Any]:
        answer = choice.continuation
        finish_reason = answer.finish_reason if choice.complete else None
        ids = answer.token_ids[start : choice.sent] if self.body.return_token_ids else None
        logprobs = self._logprobs(choice, start)
        if self.kind == "chat":
            chunk = {"index": choice.index, "delta": {"content": text}, "logprobs": logprobs}
            chunk["finish_reason"] = finish_reason
            if choice.complete:
                chunk["stop_reason"] = answer.stop_reason
            return chunk | {"token_ids": ids}
        prompt_ids = choice.prompt_ids if start == 0 and self.body.return_token_ids else None
        return {
            "index": choice.index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
            "stop_reason": answer.stop_reason if choice.complete else None,
            "prompt_token_ids": prompt_ids,
            "token_ids": ids,
        }

    def _template(self, choice: Choice) -> tuple[bytes, bytes]:
        """A chunk in the middle of a stream, cut where its text stands."""
        chunk = self._chunk([self._chunk_choice(choice, 1, _MARK)], usage={})
        head, tail = chunk.split(encode(_MARK))
        self._templates[choice.index] = head, tail
        return head, tail

    def _whole_choice(self, choice: Choice) -> dict[str, Any]:
        answer = choice.continuation
        ids = answer.token_ids if self.body.return_token_ids else None
        end = {"finish_reason": answer.finish_reason, "stop_reason": answer.stop_reason, "token_ids": ids}
        logprobs = self._logprobs(choice, 0)
        if self.kind == "chat":
            message = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": None}
            message |= {"audio": None, "function_call": None, "reasoning": None}
            return {
                "index": choice.index, "message": message, "logprobs": logprobs, **end, "routed_experts": None,
            }  # fmt: skip
        text = answer.text
        if self.body.echo:
            text = self._tokenizer.decode(choice.prompt_ids) + text
        prompt_ids = choice.prompt_ids if self.body.return_token_ids else None
        prompt = {"prompt_logprobs": None, "prompt_token_ids": prompt_ids, "routed_experts": None}
        return {"index": choice.index, "text": text, "logprobs": logprobs, **end, **prompt}

    def _logprobs(self, choice: Choice, start: int) -> dict[str, Any] | None:
        """A model that is certain of every token: logprob 0."""
        if not self._wants_logprobs:
            return None
        pieces = choice.continuation.pieces[start : choice.sent]
        if self.kind == "chat":
            tokens = [{"token": piece, "logprob": 0.0, "bytes": list(piece.encode())} for piece in pieces]
            return {"content": [{**token, "top_logprobs": [token]} for token in tokens]}
        offset = sum(map(len, choice.continuation.pieces[:start]))
        offsets = [offset + sum(map(len, pieces[:index])) for index in range(len(pieces))]
        return {
            "text_offset": offsets,
            "token_logprobs": [0.0] * len(pieces),
            "tokens": pieces,
            "top_logprobs": [{piece: 0.0} for piece in pieces],
        }
