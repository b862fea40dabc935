"""Answers that the balancer gives itself."""

from typing import Any

import msgspec
from aiohttp import web

from balancer.core.errors import Refused
from balancer.vllm_api.errors import error_body
from balancer.vllm_api.routes import Dialect


def json_response(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def refusal(refused: Refused, dialect: Dialect, request_id: str = "") -> web.Response:
    response = web.Response(
        body=error_body(
            dialect,
            refused.status,
            refused.message,
            type_=refused.type,
            param=refused.param,
            code=refused.code,
        ),
        status=refused.status,
        content_type="application/json",
    )
    if request_id:
        response.headers["x-request-id"] = request_id
    if refused.retry_after_s is not None:
        response.headers["Retry-After"] = str(refused.retry_after_s)
    if refused.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


class Relayed(web.StreamResponse):
    """Stands for an answer whose bytes went to the client's transport already: aiohttp has nothing left to write."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keeps_alive = keep_alive

    @property
    def keep_alive(self) -> bool:
        return self._keeps_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing to prepare."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing to end."""


# stateless, so two of them serve all requests
RELAYED = Relayed(keep_alive=True)
RELAYED_AND_CLOSE = Relayed(keep_alive=False)
