"""Request bodies as far as the engine needs them, and the prompts' token ids.

A conversation is rendered as control tokens around each turn, with the content encoded on its own. What is not text
(an image, audio, a file) becomes a fixed number of tokens whose ids are a hash of its bytes or URL: the same picture
is the same prefix.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import xxhash

from balancer.embedded.continuation import Limits
from balancer.embedded.tokenizer import NEWLINE, SPECIAL_IDS, TURN_END, TURN_START, VOCAB_SIZE, Tokenizer
from balancer.embedded.wire import ApiError, InvalidBodyError

MEDIA_TOKENS = {"image": 256, "audio": 128, "video": 1024, "file": 256}

MAX_CHOICES = 16_384  # vLLM's bound on `n`

Prompt = str | list[int]

_TURN_CLOSE = (TURN_END, NEWLINE)


class StreamOptions(msgspec.Struct, kw_only=True):
    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class Message(msgspec.Struct, kw_only=True):
    role: str
    content: str | list[str | dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None


class Sampling(msgspec.Struct, kw_only=True):
    """What every generating route of OpenAI's API shares. Fields that would only change the sampling are not read."""

    model: str | None = None
    max_tokens: int | None = None
    min_tokens: int | None = 0
    n: int | None = 1
    ignore_eos: bool | None = False
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    echo: bool | None = False
    return_token_ids: bool | None = False
    cache_salt: str | None = None
    priority: int = 0


class ChatRequest(Sampling, kw_only=True):
    messages: list[Message]
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    logprobs: bool | None = False


class CompletionRequest(Sampling, kw_only=True):
    prompt: str | list[int | str | list[int]] | None = None
    logprobs: int | None = None


class TokenizeRequest(msgspec.Struct, kw_only=True):
    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    return_token_strs: bool | None = False


class DetokenizeRequest(msgspec.Struct, kw_only=True):
    tokens: list[int]
    model: str | None = None


def limits(sampling: Sampling, max_tokens: int | None, prompt_tokens: int, max_model_len: int) -> Limits:
    """Where the answer to a prompt of this length must end, or the error in what was asked."""
    room = max_model_len - prompt_tokens
    if room < 1:
        raise _invalid(
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains "
            f"{prompt_tokens} input tokens, which exceeds this limit even without any output tokens. "
            "Please reduce the length of the input prompt.",
            "input_tokens",
            prompt_tokens,
        )
    if max_tokens is not None and max_tokens < 1:
        raise _invalid(f"max_tokens must be at least 1, got {max_tokens}.", "max_tokens", max_tokens)
    if max_tokens is not None and max_tokens > max_model_len:
        raise _invalid(
            f"max_tokens={max_tokens} cannot be greater than max_model_len={max_model_len}. "
            "Please request fewer output tokens.",
            "max_tokens",
            max_tokens,
        )
    if sampling.n is not None and not 1 <= sampling.n <= MAX_CHOICES:
        bound = "at least 1" if sampling.n < 1 else f"at most {MAX_CHOICES}"
        raise ApiError(400, f"n must be {bound}, got {sampling.n}.")
    stop = [sampling.stop] if isinstance(sampling.stop, str) else sampling.stop or []
    if not all(stop):
        raise ApiError(400, "stop cannot contain an empty string.", param="stop")
    return Limits(
        max_tokens=room if max_tokens is None else min(max_tokens, room),
        min_tokens=sampling.min_tokens or 0,
        ignore_eos=bool(sampling.ignore_eos),
        stop=tuple(stop),
        stop_token_ids=frozenset(sampling.stop_token_ids or ()),
    )


def _invalid(message: str, parameter: str, value: int) -> ApiError:
    return ApiError(400, f"{message} (parameter={parameter}, value={value})", param=parameter)


def text_prompts(
    prompt: str | Sequence[int | str | list[int]] | None, *, field: str = "prompt"
) -> list[Prompt]:
    """A prompt as OpenAI's API takes it: a text, a list of texts, token ids, or a list of lists of them."""
    if not prompt:
        raise ApiError(400, f"Either {field} or {field}_embeds must be provided and non-empty.", param=field)
    if isinstance(prompt, str):
        return [prompt]
    ids = [part for part in prompt if isinstance(part, int)]
    if ids and len(ids) == len(prompt):
        return [ids]
    several: list[Prompt] = [part for part in prompt if not isinstance(part, int)]
    if ids or len({type(part) for part in several}) > 1 or not all(several):
        raise InvalidBodyError(
            "list_type", f"body.{field}", "Expected texts only or token ids only, none empty"
        )
    return several


def encode_prompt(tokenizer: Tokenizer, prompt: Prompt) -> list[int]:
    if isinstance(prompt, str):
        return tokenizer.encode(prompt)
    for token in prompt:
        if not 0 <= token < VOCAB_SIZE:
            raise ApiError(400, f"Token id {token} is out of vocabulary")
    return prompt


def render_chat(
    tokenizer: Tokenizer,
    messages: Iterable[Message],
    tools: Sequence[dict[str, Any]] | None = None,
    *,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
) -> list[int]:
    """The token ids of a conversation, tools first. A final message to be continued is left open."""
    if continue_final_message and add_generation_prompt:
        both = "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
        raise InvalidBodyError("value_error", "body", f"Value error, {both}")
    ids: list[int] = []
    if tools:
        ids += _turn(tokenizer, "system", tokenizer.encode(_canonical(tools)))
    empty = True
    for message in messages:
        empty = False
        content = [token for part in _parts(message) for token in _encode_part(tokenizer, part)]
        ids += _turn(tokenizer, message.role, content)
    if empty:
        raise ApiError(
            400, "Cannot apply chat template to an empty conversation. Provide at least one message."
        )
    if continue_final_message:
        return ids[: -len(_TURN_CLOSE)]
    if add_generation_prompt:
        ids += [TURN_START, *tokenizer.encode("assistant"), NEWLINE]
    return ids


def media_tokens(kind: str, content: bytes, count: int | None = None) -> list[int]:
    """The stand-in for something that is not text."""
    first = xxhash.xxh3_64_intdigest(content, seed=len(kind))
    span = VOCAB_SIZE - SPECIAL_IDS
    return [SPECIAL_IDS + (first + index) % span for index in range(count or MEDIA_TOKENS[kind])]


def _turn(tokenizer: Tokenizer, role: str, content: list[int]) -> list[int]:
    return [TURN_START, *tokenizer.encode(role), NEWLINE, *content, *_TURN_CLOSE]


def _parts(message: Message) -> Iterator[str | dict[str, Any]]:
    if isinstance(message.content, str):
        yield message.content
    elif message.content is not None:
        yield from message.content
    for call in message.tool_calls or ():
        yield _canonical(call)


def _encode_part(tokenizer: Tokenizer, part: str | dict[str, Any]) -> list[int]:
    if isinstance(part, str):
        return tokenizer.encode(part)
    kind = str(part.get("type", ""))
    if isinstance(text := part.get("text"), str):
        return tokenizer.encode(text)
    for media in MEDIA_TOKENS:
        if media in kind:
            return media_tokens(
                media, _canonical({key: part[key] for key in part if key != "cache_control"}).encode()
            )
    return tokenizer.encode(_canonical(part))


def _canonical(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
