"""Embeddings, pooling, classification, scores and ranks: small, deterministic, and computed from the tokens alone.

One replica answers both generating and pooling routes, which a vLLM server of one model does not. The prompts run
through the engine, so that they take time and fill the cache.
"""

import base64
import math
import time
from array import array
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import xxhash
from aiohttp import web

from balancer.embedded.prompts import Message, encode_prompt, render_chat, text_prompts
from balancer.embedded.replica import Replica, replica_of
from balancer.embedded.wire import ApiError, InvalidBodyError, json_response, new_id, read_body

DIMENSIONS = 16
CLASSES = 2


class PoolingRequest(msgspec.Struct, kw_only=True):
    model: str | None = None
    input: str | list[int | str | list[int]] | None = None
    messages: list[Message] | None = None
    dimensions: int | None = None
    encoding_format: str = "float"


Text = str | dict[str, Any]


class ScoreRequest(msgspec.Struct, kw_only=True):
    model: str | None = None
    queries: Text | list[Text] | None = None
    documents: Text | list[Text] | None = None
    items: Text | list[Text] | None = None
    text_1: Text | list[Text] | None = None
    text_2: Text | list[Text] | None = None
    data_1: Text | list[Text] | None = None
    data_2: Text | list[Text] | None = None


class RerankRequest(msgspec.Struct, kw_only=True):
    query: Text
    documents: Text | list[Text]
    model: str | None = None
    top_n: int = 0


async def embeddings(request: web.Request) -> web.Response:
    replica, body, prompts = await _read(request)
    if body.dimensions is not None and body.dimensions < 1:
        raise ApiError(400, f"dimensions must be at least 1, got {body.dimensions}.", param="dimensions")
    vectors = [vector(prompt, body.dimensions or DIMENSIONS) for prompt in prompts]
    data = [
        {"index": index, "object": "embedding", "embedding": _encoded(numbers, body.encoding_format)}
        for index, numbers in enumerate(vectors)
    ]
    return _listed(replica, body.model, "embd-", data, prompts)


async def pool(request: web.Request) -> web.Response:
    replica, body, prompts = await _read(request)
    data = [
        {
            "index": index,
            "object": "pooling",
            "data": _encoded(vector(prompt, DIMENSIONS), body.encoding_format),
        }
        for index, prompt in enumerate(prompts)
    ]
    return _listed(replica, body.model, "pool-", data, prompts)


async def classify(request: web.Request) -> web.Response:
    replica, body, prompts = await _read(request)
    data = []
    for index, prompt in enumerate(prompts):
        first = _unit(prompt)
        label = f"LABEL_{0 if first >= 0.5 else 1}"
        data.append({"index": index, "label": label, "probs": [first, 1.0 - first], "num_classes": CLASSES})
    return _listed(replica, body.model, "classify-", data, prompts)


async def score(request: web.Request) -> web.Response:
    replica = replica_of(request)
    body = await read_body(request, ScoreRequest)
    pairs_of = [
        (body.queries, body.documents), (body.queries, body.items),
        (body.text_1, body.text_2), (body.data_1, body.data_2),
    ]  # fmt: skip
    for left, right in pairs_of:
        if left is not None and right is not None:
            pairs = await _run_pairs(replica, body.model, _several(left), _several(right))
            data = [{"index": i, "object": "score", "score": _unit(pair)} for i, pair in enumerate(pairs)]
            return _listed(replica, body.model, "score-", data, pairs)
    raise InvalidBodyError("missing", "body.queries", "Field required")


async def rerank(request: web.Request) -> web.Response:
    replica = replica_of(request)
    body = await read_body(request, RerankRequest)
    documents = _several(body.documents)
    pairs = await _run_pairs(replica, body.model, [body.query], documents)
    results = [
        {"index": index, "document": {"text": document, "multi_modal": None}, "relevance_score": _unit(pair)}
        for index, (document, pair) in enumerate(zip(documents, pairs, strict=True))
    ]
    results.sort(key=lambda result: (-_unit(pairs[int(str(result["index"]))]), result["index"]))
    tokens = sum(map(len, pairs))
    return json_response({
        "id": new_id("rerank-", request),
        "model": replica.check_model(body.model),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "results": results[: body.top_n or None],
    })  # fmt: skip


ROUTES: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
    "/v1/embeddings": embeddings,
    "/pooling": pool,
    "/classify": classify,
    "/score": score,
    "/v1/score": score,
    "/rerank": rerank,
    "/v1/rerank": rerank,
    "/v2/rerank": rerank,
}


def vector(tokens: Sequence[int], dimensions: int) -> list[float]:
    """A unit vector that is a hash of the tokens."""
    key = array("I", tokens).tobytes()
    raw = [xxhash.xxh3_64_intdigest(key, seed=index) / 2**63 - 1.0 for index in range(dimensions)]
    norm = math.sqrt(sum(number * number for number in raw))
    return [number / norm for number in raw]


def _unit(tokens: Sequence[int]) -> float:
    """A number from 0 to 1 that is a hash of the tokens."""
    return xxhash.xxh3_64_intdigest(array("I", tokens).tobytes()) / 2**64


def _encoded(numbers: list[float], encoding_format: str) -> list[float] | str:
    if encoding_format == "float":
        return numbers
    if encoding_format == "base64":
        return base64.b64encode(array("f", numbers).tobytes()).decode()
    raise InvalidBodyError("literal_error", "body.encoding_format", "Input should be 'float' or 'base64'")


async def _read(request: web.Request) -> tuple[Replica, PoolingRequest, list[list[int]]]:
    """The body, and its prompts after the engine has computed them."""
    replica = replica_of(request)
    body = await read_body(request, PoolingRequest)
    replica.check_model(body.model)
    if body.messages is not None:
        prompts = [render_chat(replica.tokenizer, body.messages)]
    else:
        prompts = [encode_prompt(replica.tokenizer, text) for text in text_prompts(body.input, field="input")]
    await replica.prefill(prompts)
    return replica, body, prompts


def _several(texts: Text | list[Text]) -> list[Text]:
    return texts if isinstance(texts, list) else [texts]


async def _run_pairs(
    replica: Replica, model: str | None, left: list[Text], right: list[Text]
) -> list[list[int]]:
    """One prompt for each pair: texts on both sides in step, or one on the left against all on the right."""
    replica.check_model(model)
    if len(left) == 1:
        left = left * len(right)
    if not right or len(left) != len(right):
        raise ApiError(400, "Input lengths must be either 1:1, 1:N or N:N")
    pairs = [
        render_chat(
            replica.tokenizer, [Message(role="query", content=[a]), Message(role="document", content=[b])]
        )
        for a, b in zip(left, right, strict=True)
    ]
    await replica.prefill(pairs)
    return pairs


def _listed(
    replica: Replica, model: str | None, prefix: str, data: list[dict[str, Any]], prompts: list[list[int]]
) -> web.Response:
    tokens = sum(map(len, prompts))
    usage = {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
    }
    return json_response({
        "id": new_id(prefix), "object": "list", "created": int(time.time()),
        "model": replica.check_model(model), "data": data, "usage": usage,
    })  # fmt: skip
