"""JSON in and out as vLLM's API server does it: decoding with its error shapes, ids, server-sent events."""

import re
import secrets
from typing import Any, TypeVar

import msgspec
from aiohttp import web

T = TypeVar("T")
encode = msgspec.json.encode
DONE = b"data: [DONE]\n\n"

_AT = re.compile(r" - at `\$\.?([^`]*)`$")
_MISSING = re.compile(r"Object missing required field `([^`]+)`")


class ApiError(Exception):
    """An answer that is an error, in vLLM's words for OpenAI clients; Anthropic's routes dress it differently."""

    def __init__(
        self, status: int, message: str, type_: str = "BadRequestError", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, Any] = {"message": message, "type": type_, "param": param, "code": status}

    @property
    def body(self) -> dict[str, Any]:
        return {"error": self.error}

    @property
    def anthropic_body(self) -> dict[str, Any]:
        return {"type": "error", "error": {"type": self.error["type"], "message": self.error["message"]}}


class InvalidBodyError(ApiError):
    """The body is not what the route takes. vLLM says this in OpenAI's shape on every route, Anthropic's too."""

    def __init__(self, kind: str, at: str, message: str) -> None:
        detail = f"{{'type': '{kind}', 'loc': '{at}', 'msg': {message!r}}}"
        super().__init__(400, f"1 validation error:\n  {detail}", "Bad Request", at)

    @property
    def anthropic_body(self) -> dict[str, Any]:
        return self.body


async def read_body(request: web.Request, type_: type[T]) -> T:
    """The request's body as `type_`, or the error that says what is wrong with it."""
    if request.content_type != "application/json":
        message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        raise ApiError(400, message, "Bad Request")
    return decode_body(await request.read(), type_)


def decode_body(body: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as error:
        text = str(error)
        at = _AT.search(text)
        path = ["body", *filter(None, [at[1] if at else None])]
        if missing := _MISSING.match(text):
            raise InvalidBodyError("missing", ".".join([*path, missing[1]]), "Field required") from None
        raise InvalidBodyError("type", ".".join(path), _AT.sub("", text)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBodyError("json_invalid", "body", f"JSON decode error: {error}") from None


def json_response(body: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=encode(body), status=status, content_type="application/json", headers=headers)


def new_id(prefix: str, request: web.Request | None = None) -> str:
    """An id; the client's X-Request-Id becomes part of it."""
    given = request.headers.get("X-Request-Id") if request is not None else None
    return prefix + (given or secrets.token_hex(8))


def data_event(body: object) -> bytes:
    return b"data: %b\n\n" % encode(body)


def named_event(name: str, body: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode(body))
