"""Going on with a broken stream on another replica: when that is sound, and what is asked of it.

    text    completions go on from prompt + delivered text, chats from the delivered text as an assistant message that is left
            open (`continue_final_message`). Nothing is added to any request. The text's tokens may be other ones than were
            generated, so that a greedy answer can go on differently, though always from the same text
    exact   `return_token_ids` is added to each request that could be resumed, and what it brings is kept from the client.
            Generation goes on through /v1/completions from prompt ids + delivered ids: greedy answers stay what they were

Sound is a plain text answer: one choice, no tools, no grammar, no logprobs, nothing whose state is lost with the replica.
Sampled answers are gone on with only where that is allowed: the rest is drawn anew.

Source: vLLM 0.32, entrypoints/openai/{chat_completion,completion}/protocol.py, v1/engine/detokenizer.py.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from balancer.core.types import Json, RouteKind
from balancer.vllm_api.tape import Delivered

CHAT_PATH = "/v1/chat/completions"
COMPLETIONS_PATH = "/v1/completions"
DEFAULT_COMPLETION_TOKENS = 16
"""What vLLM takes for a completion that does not say max_tokens."""

_UNSOUND = (
    "tools",
    "functions",
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
    "logprob_token_ids",
    "use_beam_search",
    "structured_outputs",
    "echo",
    "suffix",
    "prompt_embeds",
    "audio",
    "kv_transfer_params",
    "truncate_prompt_tokens",
    "thinking_token_budget",
)
"""Fields that rule it out, unless they are empty, false or 0."""
_OUTPUT_ONLY = ("presence_penalty", "frequency_penalty")
"""They weigh what was generated, which has become prompt."""
_CHAT_ONLY = (
    "messages",
    "tool_choice",
    "parallel_tool_calls",
    "max_completion_tokens",
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
    "documents",
    "chat_template",
    "chat_template_kwargs",
    "mm_processor_kwargs",
    "reasoning_effort",
    "include_reasoning",
    "response_format",
)


def wants_ids(body: dict[str, Any]) -> bool:
    """Whether the client itself asked for token ids."""
    return bool(body.get("return_token_ids"))


def includes_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


@dataclass(frozen=True, slots=True)
class Continuation:
    """What is asked of the next replica, and how its answer is joined to what was delivered.

    `body` is None where nothing is left to generate. It goes on from `text`; what was delivered beyond that is `owed`, whitespace
    that chat templates may cut off, or text that ids are not known to reach: it comes again, and is not given again. `muted`: the
    answer was whole but for its usage, which is all that is wanted. `prompt_tokens` is None where only the next answer's
    usage tells them, by text to within what the text's tokens differ from those generated.
    """

    path: str
    body: bytes | None
    delivered_tokens: int
    prompt_tokens: int | None = None
    text: str = ""
    owed: str = ""
    muted: bool = False


def is_sound(kind: RouteKind, body: dict[str, Any], *, sampled: bool) -> bool:
    """Whether a stream of this request can be gone on with; `sampled`: even if it is not greedy."""
    if any(body.get(name) not in (None, 1) for name in ("n", "best_of")):
        return False
    if any(body.get(name) for name in _UNSOUND) or any(name.startswith("guided_") for name in body):
        return False
    form = body.get("response_format")
    if form is not None and not (isinstance(form, dict) and form.get("type") == "text"):
        return False
    if not sampled:
        temperature = body.get("temperature")
        if isinstance(temperature, bool) or temperature != 0 or any(body.get(name) for name in _OUTPUT_ONLY):
            return False
    if kind is RouteKind.COMPLETIONS:
        return _one_prompt(body) is not None
    messages = body.get("messages")
    return isinstance(messages, list) and bool(messages) and all(isinstance(m, dict) for m in messages)


def with_ids(body: dict[str, Any], raw: bytes) -> bytes:
    """The request, with token ids asked for: put before all else, so that the client's own bytes stay."""
    if "return_token_ids" in body:
        return msgspec.json.encode(body | {"return_token_ids": True})
    return b'{"return_token_ids":true,' + raw.lstrip()[1:]


def going_on(
    kind: RouteKind, body: dict[str, Any], delivered: Delivered, *, context_tokens: int | None = None
) -> Continuation | None:
    """What to ask of another replica for a sound request, by ids where the stream told them; None where it can't be.

    `context_tokens`: the model's longest context (`max_model_len`), if it is known.
    """
    if not delivered.sound:
        return None
    limit = _most_tokens(kind, body)
    prompt_ids = delivered.prompt_ids
    if prompt_ids is not None and _is_all_in_ids(kind, body):
        if limit is None and context_tokens is not None:
            limit = context_tokens - len(prompt_ids)
        if limit is not None:
            return _by_ids(kind, body, delivered, limit - len(delivered.ids))
    return _by_text(kind, body, delivered, None if limit is None else limit - delivered.tokens)


def _by_ids(kind: RouteKind, body: dict[str, Any], delivered: Delivered, left: int) -> Continuation:
    prompt_ids, ids = delivered.prompt_ids or [], delivered.ids
    if delivered.finish_reason is not None or left <= 0:
        return Continuation("", None, len(ids), len(prompt_ids))
    dropped = _CHAT_ONLY if kind is RouteKind.CHAT else ()
    asked = {name: value for name, value in body.items() if name not in dropped}
    asked |= {"prompt": [*prompt_ids, *ids], "max_tokens": left, "return_token_ids": True}
    text = delivered.synced_text
    owed = delivered.text[len(text) :]
    return Continuation(COMPLETIONS_PATH, _encoded(asked, len(ids)), len(ids), len(prompt_ids), text, owed)


def _by_text(
    kind: RouteKind, body: dict[str, Any], delivered: Delivered, left: int | None
) -> Continuation | None:
    muted = delivered.finish_reason is not None or (left is not None and left <= 0)
    if muted:
        if not includes_usage(body) or delivered.usage_told:
            return Continuation("", None, delivered.tokens, delivered.prompt_tokens)
        left = 1
    asked = dict(body)
    if left is not None:
        name = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
        asked[name] = left
    text, whitespace = delivered.text, ""
    if kind is RouteKind.COMPLETIONS:
        prompt = _one_prompt(body)
        if not isinstance(prompt, str):  # ids: their text is the tokenizer's to tell
            return None
        asked["prompt"] = prompt + text
        encoded = _encoded(asked, delivered.tokens)
        return Continuation(
            COMPLETIONS_PATH, encoded, delivered.tokens, delivered.prompt_tokens, text, muted=muted
        )
    if text:
        kept = text.rstrip()
        text, whitespace = kept, text[len(kept) :]
    if text:
        messages = _left_open(body, text)
        if messages is None:
            return None
        asked |= {"messages": messages, "add_generation_prompt": False, "continue_final_message": True}
    encoded = _encoded(asked, delivered.tokens)
    return Continuation(
        CHAT_PATH, encoded, delivered.tokens, delivered.prompt_tokens, text=text, owed=whitespace, muted=muted
    )


def _left_open(body: dict[str, Any], text: str) -> list[Any] | None:
    """The messages with an answer begun, or with the one that the client had begun made longer."""
    messages: list[Any] = body["messages"]
    if not body.get("continue_final_message"):
        return [*messages, {"role": "assistant", "content": text}]
    last = messages[-1]
    begun = last.get("content")
    return [*messages[:-1], last | {"content": begun + text}] if isinstance(begun, str) else None


def _encoded(asked: dict[str, Any], delivered_tokens: int) -> bytes:
    minimum = asked.get("min_tokens")
    if isinstance(minimum, int) and minimum > 0:
        asked["min_tokens"] = max(0, minimum - delivered_tokens)
    return msgspec.json.encode(asked)


def _most_tokens(kind: RouteKind, body: dict[str, Any]) -> int | None:
    """The answer's limit, None if there is none but the context."""
    for name in ("max_completion_tokens", "max_tokens"):
        limit = body.get(name)
        if isinstance(limit, int) and not isinstance(limit, bool):
            return limit
    return DEFAULT_COMPLETION_TOKENS if kind is RouteKind.COMPLETIONS else None


def _one_prompt(body: dict[str, Any]) -> str | list[int] | None:
    """The prompt of a completion that has exactly one: text, or token ids."""
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int):
        prompt = prompt[0]
    if isinstance(prompt, list):
        return prompt if prompt and all(isinstance(token, int) for token in prompt) else None
    return prompt if isinstance(prompt, str) else None


def _is_all_in_ids(kind: RouteKind, body: dict[str, Any]) -> bool:
    """Whether ids alone say where a stream stood: not with stop strings, for which text is held back, and not with images, which
    ids only stand for.
    """
    if body.get("stop") and not body.get("include_stop_str_in_output"):
        return False
    return kind is RouteKind.COMPLETIONS or all(_is_text(m.get("content")) for m in body["messages"])


def _is_text(content: Json) -> bool:
    if isinstance(content, list):
        return all(isinstance(part, dict) and part.get("type") == "text" for part in content)
    return content is None or isinstance(content, str)
