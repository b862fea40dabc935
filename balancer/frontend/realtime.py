"""The realtime WebSocket: frames pass both ways between the client and one replica, for as long as both are there."""

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from time import monotonic

from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    WSCloseCode,
    WSMsgType,
    web,
)
from yarl import URL

from balancer.accounting.record import Record
from balancer.core.decider import Decider
from balancer.core.errors import replicas_failed, socket_refused, upgrade_required
from balancer.core.types import RequestView, RouteKind

_NO_STATUS = 1005
_OWN_HEADERS = frozenset(
    {"host", "connection", "upgrade", "content-length", "transfer-encoding", "x-request-id"}
)


class Realtime:
    def __init__(
        self,
        decider: Decider,
        *,
        replica_authorization: str | None,
        connect_timeout_s: float,
    ) -> None:
        self._decider = decider
        self._authorization = replica_authorization
        self._connect_timeout_s = connect_timeout_s

    async def serve(
        self, request: web.BaseRequest, withheld: frozenset[bytes], record: Record
    ) -> web.StreamResponse:
        """`record` is told what became of it, once it is open.

        Raises: Refused, if the request is no upgrade, or no replica takes it.
        """
        if not web.WebSocketResponse().can_prepare(request).ok:
            raise upgrade_required()
        ended: list[str] = []
        view = RequestView(RouteKind.OTHER, request.rel_url.query.get("model"))
        decision = self._decider.decide(view, frozenset(), monotonic())
        charge = self._decider.dispatch(view, decision, monotonic())
        timeout = ClientTimeout(total=None, sock_connect=self._connect_timeout_s)
        try:
            async with ClientSession(timeout=timeout) as session:
                replica = charge.replica
                upstream = await self._connect(session, replica.url, request, withheld, record.request_id)
                protocols = (upstream.protocol,) if upstream.protocol else ()
                client = web.WebSocketResponse(max_msg_size=0, compress=False, protocols=protocols)
                try:
                    record.model = view.model
                    record.sends(decision, record.arrived_at, monotonic())
                    await client.prepare(request)
                    record.status = HTTPStatus.SWITCHING_PROTOCOLS
                    await _both_ways(client, upstream, ended)
                finally:
                    record.ended_by = ended[0] if ended else "client"
                    await upstream.close(code=_passed_on(client.close_code))
        finally:
            self._decider.ended(charge, monotonic(), None)
        return client

    async def _connect(
        self,
        session: ClientSession,
        url: str,
        request: web.BaseRequest,
        withheld: frozenset[bytes],
        request_id: str,
    ) -> ClientWebSocketResponse:
        headers = [
            (name, value)
            for name, value in request.headers.items()
            if name.lower() not in _OWN_HEADERS
            and not name.lower().startswith("sec-websocket-")
            and name.lower().encode() not in withheld
        ]
        headers.append(("X-Request-Id", request_id))
        if self._authorization is not None:
            headers = [(n, v) for n, v in headers if n.lower() != "authorization"]
            headers.append(("Authorization", self._authorization))
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        try:
            return await session.ws_connect(
                URL(url + request.rel_url.raw_path_qs, encoded=True),
                headers=headers,
                protocols=[p.strip() for p in offered.split(",") if p.strip()],
                max_msg_size=0,
                compress=0,
            )
        except (ClientError, OSError, TimeoutError) as error:
            status = getattr(error, "status", None)
            if isinstance(status, int) and 400 <= status < 500:
                raise socket_refused(status) from error
            raise replicas_failed() from error


async def _both_ways(
    client: web.WebSocketResponse, upstream: ClientWebSocketResponse, ended: list[str]
) -> None:
    """Until either side closes; its close code goes to the other. `ended` gets the sides, `client` and `replica`, as they end."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_one_way(client, upstream, partial(ended.append, "client")))
        group.create_task(_one_way(upstream, client, partial(ended.append, "replica")))


async def _one_way(
    source: web.WebSocketResponse | ClientWebSocketResponse,
    sink: web.WebSocketResponse | ClientWebSocketResponse,
    on_end: Callable[[], None],
) -> None:
    async for message in source:
        try:
            if message.type is WSMsgType.TEXT:
                await sink.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await sink.send_bytes(message.data)
        except ConnectionError:
            break
    on_end()
    await sink.close(code=_passed_on(source.close_code))


def _passed_on(code: int | None) -> int:
    """The close code to send for one that came, or did not come (RFC 6455 section 7.4.1)."""
    if code is None or code == WSCloseCode.ABNORMAL_CLOSURE:
        return WSCloseCode.INTERNAL_ERROR
    return WSCloseCode.OK if code == _NO_STATUS else code
