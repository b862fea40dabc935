"""Error bodies in the two dialects that vLLM speaks.

OpenAI's since vLLM 0.10.2: {"error": {message, type, param, code}}; Anthropic's on /v1/messages:
{"type": "error", "error": {type, message}}.
"""

import re

import msgspec

from balancer.vllm_api.routes import Dialect

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(
    dialect: Dialect,
    status: int,
    message: str,
    *,
    type_: str,
    param: str | None = None,
    code: str | int | None = None,
) -> bytes:
    message = message.encode("utf-8", "replace").decode()  # a model's name may hold lone surrogates
    if dialect is Dialect.ANTHROPIC:
        kind = _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})
    return msgspec.json.encode(
        {
            "error": {
                "message": message,
                "type": type_,
                "param": param,
                "code": status if code is None else code,
            }
        }
    )


_TOO_LONG = re.compile(
    rb"context_length_exceeded"  # OpenAI's code, and that of many who speak its API
    rb"|maximum (?:context|model) length|longer than the (?:maximum )?model"
    rb"|prompt is too long|exceed[a-z]* (?:the |its )?(?:available |maximum )?context"  # Anthropic; llama.cpp
    rb"|input token count",  # Gemini
    re.IGNORECASE,
)
"""vLLM has no code for it: "This model's maximum context length is ..." since 0.1, "The decoder prompt (length N) is longer than
the maximum model length of ..." from its engine, "... exceeds the model's maximum context length" since 0.11.
"""


def is_too_long(body: bytes) -> bool:
    """Whether an error says that the prompt, with the answer it asks for, does not fit into the model's context."""
    return _TOO_LONG.search(body) is not None


def replica_lost(dialect: Dialect) -> bytes:
    """The event that ends a stream whose replica was lost."""
    return _event(dialect, 502, "The replica was lost before the answer was complete.", "BadGatewayError")


def shut_down(dialect: Dialect) -> bytes:
    """The event that ends a stream that outlasts the balancer's draining."""
    message = "The balancer was shut down before the answer was complete."
    return _event(dialect, 503, message, "ServiceUnavailableError")


def timed_out(dialect: Dialect) -> bytes:
    """The event that ends a stream at the limit of all its time."""
    message = "The answer was not complete within its time limit (total_timeout_s)."
    return _event(dialect, 504, message, "GatewayTimeoutError")


def _event(dialect: Dialect, status: int, message: str, type_: str) -> bytes:
    body = error_body(dialect, status, message, type_=type_)
    if dialect is Dialect.ANTHROPIC:
        return b"event: error\ndata: " + body + b"\n\n"
    return b"data: " + body + b"\n\n"
