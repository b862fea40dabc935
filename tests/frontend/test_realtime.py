"""The realtime socket: frames, subprotocol, keys and close codes pass between client and replica."""

import asyncio
import contextlib
import logging

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from tests.accounting.test_metrics import value
from tests.fakes.balancer import balancing
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import LOOPBACK

PATH = "/v1/realtime"
MIB = 1024 * 1024


class SocketReplica:
    """An aiohttp server that echoes, and does to its socket what the first word of a text says."""

    def __init__(self):
        self.requests = []
        self.close_codes = []
        self.status = 101
        app = web.Application()
        app.router.add_get(PATH, self._socket)
        app.router.add_get("/health", self._probe)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/metrics", self._probe)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def start(self):
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, 0)
        await site.start()
        self.url = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"
        return self

    async def stop(self):
        await self._runner.cleanup()

    async def _probe(self, request):
        return web.Response()

    async def _models(self, request):
        return web.json_response({"data": [{"id": "m"}]})

    async def _socket(self, request):
        self.requests.append(request)
        if self.status != 101:
            return web.Response(status=self.status)
        socket = web.WebSocketResponse(protocols=("realtime", "other"), max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            elif message.data.startswith("close "):
                await socket.close(code=int(message.data.split()[1]), message=b"bye")
            elif message.data == "drop":
                request.transport.abort()
            else:
                await socket.send_str(message.data)
        self.close_codes.append(socket.close_code)
        return socket


@contextlib.asynccontextmanager
async def realtime(**settings):
    replica = await SocketReplica().start()
    try:
        async with balancing(replica.url, **settings) as front, aiohttp.ClientSession() as session:
            url = f"http://{LOOPBACK}:{front.balancer.listeners.ports[0]}{PATH}?model=m"
            yield front, replica, lambda **more: session.ws_connect(url, max_msg_size=0, **more)
    finally:
        await replica.stop()


@on_both_loops
async def test_frames_pass_both_ways():
    async with realtime() as (front, replica, connect), connect() as socket:
        for text in ("hi", "", "\u4f60" * 1000):
            await socket.send_str(text)
            assert await socket.receive_str(timeout=5) == text
        await socket.send_bytes(b"\x00\xff" * MIB)
        assert await socket.receive_bytes(timeout=10) == b"\x00\xff" * MIB
        assert front.fleet[0].in_flight == 1
        assert replica.requests[0].query_string == "model=m"


@pytest.mark.parametrize(("says", "by"), [("close 1000", "replica"), (None, "client")])
@async_test
async def test_a_socket_has_its_line_and_is_counted(caplog, says, by):
    caplog.set_level(logging.INFO, logger="balancer.access")
    async with realtime(access_log=True) as (front, replica, connect):
        async with connect(headers={"X-Request-Id": "s-1"}) as socket:
            await socket.send_str(says or "hi")
            await socket.receive(timeout=5)
        lines = []
        await until(
            lambda: lines.extend(r.msg for r in caplog.records if r.name == "balancer.access") or lines
        )
        assert {
            name: lines[0][name] for name in ("request_id", "route", "model", "replica", "status", "ended_by")
        } == {
            "request_id": "s-1",
            "route": PATH,
            "model": "m",
            "replica": front.fleet[0].id,
            "status": 101,
            "ended_by": by,
        }
        assert replica.requests[0].headers.getall("X-Request-Id") == ["s-1"]
        labels = {"route": PATH, "model_name": "m", "code": "101", "ended_by": by}
        assert value(front.balancer.metrics.render("")[0], "balancer_requests_total", **labels) == 1


@on_both_loops
async def test_the_subprotocol_is_the_one_that_the_replica_chose():
    async with realtime() as (_, replica, connect):
        async with connect(protocols=("unknown", "other", "realtime")) as socket:
            assert socket.protocol == "other"
        async with connect(protocols=("unknown",)) as socket:
            assert socket.protocol is None
        async with connect() as socket:
            assert socket.protocol is None
        assert (
            replica.requests[0].headers["Sec-WebSocket-Protocol"].replace(" ", "") == "unknown,other,realtime"
        )


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 4000])
@on_both_loops
async def test_the_replicas_close_code_reaches_the_client(code):
    async with realtime() as (front, _, connect), connect() as socket:
        await socket.send_str(f"close {code}")
        message = await socket.receive(timeout=5)
        assert (message.type, message.data) == (WSMsgType.CLOSE, code)
        await until(front.idle)


@pytest.mark.parametrize("code", [1000, 1001, 4001])
@on_both_loops
async def test_the_clients_close_code_reaches_the_replica(code):
    async with realtime() as (front, replica, connect):
        async with connect() as socket:
            await socket.send_str("hi")
            await socket.receive_str(timeout=5)
            await socket.close(code=code)
        await until(lambda: replica.close_codes)
        assert replica.close_codes == [code]
        await until(front.idle)


@on_both_loops
async def test_a_client_that_vanishes_frees_the_replica():
    async with realtime() as (front, replica, connect):
        socket = await connect()
        await socket.send_str("hi")
        await socket.receive_str(timeout=5)
        socket._response.connection.transport.abort()
        await until(lambda: replica.close_codes)
        await until(front.idle)


@on_both_loops
async def test_a_replica_that_vanishes_is_told_to_the_client():
    async with realtime() as (front, _, connect), connect() as socket:
        await socket.send_str("drop")
        message = await socket.receive(timeout=5)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1011)
        await until(front.idle)


@on_both_loops
async def test_keys_are_checked_and_exchanged():
    async with realtime(api_keys=["outer"], replica_api_key="inner") as (_, replica, connect):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await connect()
        assert refused.value.status == 401
        async with connect(headers={"Authorization": "Bearer outer", "X-Kept": "1"}) as socket:
            await socket.send_str("hi")
            assert await socket.receive_str(timeout=5) == "hi"
        assert replica.requests[0].headers.getall("Authorization") == ["Bearer inner"]
        assert replica.requests[0].headers["X-Kept"] == "1"


@pytest.mark.parametrize(("told", "status"), [(401, 401), (404, 404), (500, 502), (503, 502)])
@on_both_loops
async def test_a_replica_that_takes_no_socket(told, status):
    async with realtime() as (front, replica, connect):
        replica.status = told
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await connect()
        assert refused.value.status == status
        assert front.idle()


@on_both_loops
async def test_a_plain_request_is_told_to_upgrade():
    async with realtime() as (front, replica, _):
        answer = await front.ask(target=PATH)
        assert answer.status == 426
        assert answer.json()["error"]["type"] == "BadRequestError"
        assert replica.requests == []


@on_both_loops
async def test_a_model_that_nobody_serves():
    async with realtime() as (front, replica, _):
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        upgrade["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        answer = await front.ask(target=PATH + "?model=nope", headers=upgrade)
        assert answer.status == 404
        assert replica.requests == []


@on_both_loops
async def test_stopping_closes_open_sockets():
    async with realtime() as (front, replica, connect):
        socket = await connect()
        await socket.send_str("hi")
        await socket.receive_str(timeout=5)
        async with asyncio.timeout(10):
            await front.balancer.close()
        await until(lambda: replica.close_codes)
        await socket.close()
