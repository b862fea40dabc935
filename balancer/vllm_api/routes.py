"""Which of vLLM's routes are proxied, and how each is read.

The law: an allow-list. vLLM's --api-key guards only part of its routes, and its security page asks the proxy
for such a list. What is not here is never sent to a replica: sleep, pause, cache resets, LoRA and weight updates,
collective_rpc, profiling, server_info.

Source: vLLM 0.32 and 0.33 (entrypoints), routes read from running servers.
"""

from dataclasses import dataclass
from enum import StrEnum

from balancer.core.types import RouteKind


class Dialect(StrEnum):
    """Whose error bodies and stream events a route speaks."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True)
class Route:
    path: str
    kind: RouteKind
    dialect: Dialect = Dialect.OPENAI
    stores_response: bool = False  # its answer has an id that later requests name


_KIND = RouteKind

_INFERENCE = (
    Route("/v1/chat/completions", _KIND.CHAT),
    Route("/v1/chat/completions/batch", _KIND.OTHER),
    Route("/v1/completions", _KIND.COMPLETIONS),
    Route("/v1/responses", _KIND.RESPONSES, stores_response=True),
    Route("/v1/messages", _KIND.MESSAGES, Dialect.ANTHROPIC),
    Route("/v1/messages/count_tokens", _KIND.TOKENIZE, Dialect.ANTHROPIC),
    Route("/cohere/v2/chat", _KIND.CHAT),
    Route("/v1/embeddings", _KIND.EMBEDDINGS),
    Route("/v2/embed", _KIND.EMBEDDINGS),
    Route("/pooling", _KIND.EMBEDDINGS),
    Route("/classify", _KIND.EMBEDDINGS),
    Route("/score", _KIND.SCORING),
    Route("/v1/score", _KIND.SCORING),
    Route("/rerank", _KIND.SCORING),
    Route("/v1/rerank", _KIND.SCORING),
    Route("/v2/rerank", _KIND.SCORING),
    Route("/generative_scoring", _KIND.SCORING),
    Route("/v1/audio/transcriptions", _KIND.AUDIO),
    Route("/v1/audio/translations", _KIND.AUDIO),
    Route("/tokenize", _KIND.TOKENIZE),
    Route("/detokenize", _KIND.OTHER),
    Route("/generate", _KIND.COMPLETIONS),
    Route("/invocations", _KIND.CHAT),
    Route("/v1/decisions", _KIND.OTHER),
    Route("/v1/systemone", _KIND.OTHER),
)

_SCALE_OUT = (
    Route("/inference/v1/generate", _KIND.COMPLETIONS),
    Route("/v1/chat/completions/render", _KIND.TOKENIZE),
    Route("/v1/completions/render", _KIND.TOKENIZE),
    Route("/v1/messages/render", _KIND.TOKENIZE, Dialect.ANTHROPIC),
    Route("/v1/responses/render", _KIND.TOKENIZE),
    Route("/v1/chat/completions/derender", _KIND.OTHER),
    Route("/v1/completions/derender", _KIND.OTHER),
)
"""Served by vLLM only with --enable-scale-out."""

REALTIME_PATH = "/v1/realtime"
STORED_RESPONSE = Route("/v1/responses/{response_id}", _KIND.OTHER)


def inference_routes(*, scale_out: bool) -> dict[str, Route]:
    """Path -> route of everything that is proxied by POST."""
    routes = _INFERENCE + _SCALE_OUT if scale_out else _INFERENCE
    return {route.path: route for route in routes}


def stored_response_id(method: str, path: str) -> str | None:
    """The id in GET /v1/responses/{id} and POST /v1/responses/{id}/cancel, or None for any other request."""
    rest = path.removeprefix("/v1/responses/")
    if rest == path:
        return None
    if method == "POST":
        response_id = rest.removesuffix("/cancel")
        if response_id == rest:
            return None
    elif method in {"GET", "DELETE"}:
        response_id = rest
    else:
        return None
    return response_id if response_id and "/" not in response_id else None


def dialect_of(path: str) -> Dialect:
    """The dialect to answer an error in, for proxied and unknown paths alike."""
    return Dialect.ANTHROPIC if path.startswith("/v1/messages") else Dialect.OPENAI
