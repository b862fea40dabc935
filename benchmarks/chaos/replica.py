"""An embedded replica that fails on command, for faults that a healthy server can't show: `python -m benchmarks.chaos.replica`.

It speaks real HTTP on its port and takes orders on another: `POST /NAME` begins the fault of that name, `POST /none`
ends it. Told to stop, it does what vLLM does by default (SIGTERM, --shutdown-timeout 0): the port closes, and what is
under way ends at once as a clean answer whose `finish_reason` is "abort".
"""

import asyncio
import contextlib
import signal
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from random import Random
from typing import Annotated

import typer
import uvloop
from aiohttp import web
from aiohttp.typedefs import Middleware

from balancer.embedded.continuation import Continuation
from balancer.embedded.prompts import Sampling
from balancer.embedded.replica import REPLICA, Choice, Generation, Replica
from balancer.embedded.server import KEEPALIVE_S, SHUTDOWN_S, ReplicaOptions, create_app
from balancer.embedded.wire import DONE, ApiError, data_event, json_response

HOST = "127.0.0.1"
MODEL = "embedded-model"

_RESET_WITHIN_S = 0.4
_STALL_S = 10.0
_SLOW_HEALTH_S = 8.0
_LAST_WORDS_S = 1.0
_RESET_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close() sends RST

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Trouble(StrEnum):
    NONE = "none"
    REFUSED = "refused"
    RESET = "reset"
    HALF_OPEN = "half-open"
    ERRORS = "errors"
    BUSY = "busy"
    BUSY_EVENT = "busy-event"
    METRICS_STALL = "metrics-stall"
    METRICS_GARBAGE = "metrics-garbage"
    SLOW_HEALTH = "slow-health"


_DEAD = ApiError(
    500, "EngineCore encountered an issue. See stack trace for the root cause.", "InternalServerError"
)
_BUSY = ApiError(503, "The engine is currently busy and cannot accept new requests.", "Service Unavailable")
_GARBAGE = (
    b"<html><body>Service Temporarily Unavailable</body></html>",
    b"\x00\xff\xfe garbage \x80\n" * 50,
    b'vllm:num_requests_running{engine="0"} NaN\nvllm:num_requests_waiting{engine="0"} -7\n',
    b'vllm:num_requests_running{engine="0"} 1e308\nvllm:kv_cache_usage_perc{engine="0"} 17\n',
    b'vllm:num_requests_running{engine="0',
    b"",
)


class AbortingReplica(Replica):
    """Knows what is under way, and can end it early as vLLM does when it is told to stop."""

    def __init__(self, options: ReplicaOptions) -> None:
        super().__init__(options)
        self._under_way: list[Generation] = []

    def generate(
        self, prompts: Sequence[list[int]], sampling: Sampling, *, max_tokens: int | None
    ) -> Generation:
        generation = super().generate(prompts, sampling, max_tokens=max_tokens)
        self._under_way = [each for each in self._under_way if not each.batch.done]
        self._under_way.append(generation)
        return generation

    def produced(self, choice: Choice) -> int:
        return min(super().produced(choice), len(choice.continuation.token_ids))

    def cut_short(self) -> None:
        """A stream ends with its next token, an answer that is sent whole with those that it has."""
        for generation in self._under_way:
            if generation.batch.done:
                continue
            streaming = generation.batch.streaming
            for choice in generation.choices:
                answer = choice.continuation
                tokens = self.produced(choice) + 1 if streaming else max(1, self.produced(choice))
                if tokens < len(answer.token_ids):
                    ids, pieces = answer.token_ids[:tokens], answer.pieces[:tokens]
                    choice.continuation = Continuation(ids, pieces, "abort")
            if not streaming:
                self.driver.abort(generation.batch)


class FaultyServer:
    def __init__(self, options: ReplicaOptions) -> None:
        self._options = options
        self._rng = Random(options.port)
        self._trouble = Trouble.NONE
        self._site: web.TCPSite | None = None
        app = create_app(options)
        self._replica = app[REPLICA] = AbortingReplica(options)
        app.middlewares.insert(0, self._middleware())
        self._runner = _runner(app)

    @property
    def idle(self) -> bool:
        return self._replica.engine.num_unfinished == 0

    async def start(self) -> None:
        await self._runner.setup()
        await self._open()

    async def stop(self) -> None:
        """As vLLM ends: what is under way gets a clean-looking end."""
        await self._close()
        self._replica.cut_short()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                while not self.idle:  # noqa: ASYNC110 - the engine has no event for this; a step takes as long
                    await asyncio.sleep(0.01)
        await self._runner.cleanup()

    async def obey(self, request: web.Request) -> web.Response:
        """An order on the control port."""
        try:
            self._trouble = Trouble(request.match_info["name"])
        except ValueError:
            return web.Response(status=404, text=f"expected one of {', '.join(Trouble)}\n")
        if self._trouble is Trouble.REFUSED:
            await self._close()
        elif self._site is None:
            await self._open()
        return web.Response(text=f"{self._trouble}\n")

    async def _open(self) -> None:
        self._site = web.TCPSite(self._runner, HOST, self._options.port, backlog=2048)
        await self._site.start()

    async def _close(self) -> None:
        """No new connections; those that are open go on."""
        site, self._site = self._site, None
        if site is not None:
            await site.stop()

    def _middleware(self) -> Middleware:
        @web.middleware
        async def trouble(request: web.Request, handler: _Handler) -> web.StreamResponse:
            early = await self._instead(request)
            return await handler(request) if early is None else early

        return trouble

    async def _instead(self, request: web.Request) -> web.StreamResponse | None:
        """What is answered in place of the truth, or None."""
        generates = request.method == "POST" and request.path.startswith("/v1/")
        match self._trouble:
            case Trouble.HALF_OPEN:
                await asyncio.Event().wait()
            case Trouble.RESET if generates:
                asyncio.get_running_loop().call_later(self._rng.uniform(0, _RESET_WITHIN_S), _reset, request)
            case Trouble.ERRORS if generates:
                return json_response(_DEAD.body, _DEAD.status)
            case Trouble.BUSY if generates:
                return json_response(_BUSY.body, _BUSY.status, {"Retry-After": "1"})
            case Trouble.BUSY_EVENT if generates:
                if b'"stream":true' not in await request.read():
                    return json_response(_BUSY.body, _BUSY.status)
                events = data_event(_BUSY.body) + DONE
                return web.Response(body=events, headers={"Content-Type": "text/event-stream; charset=utf-8"})
            case Trouble.METRICS_STALL if request.path == "/metrics":
                await asyncio.sleep(_STALL_S)
            case Trouble.METRICS_GARBAGE if request.path == "/metrics":
                return web.Response(body=self._rng.choice(_GARBAGE))
            case Trouble.SLOW_HEALTH if request.path == "/health":
                await asyncio.sleep(_SLOW_HEALTH_S)
        return None


def _reset(request: web.Request) -> None:
    transport = request.transport
    if transport is None or transport.is_closing():
        return
    peer = transport.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_ONCE)
    transport.abort()


def _runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=KEEPALIVE_S,
        shutdown_timeout=SHUTDOWN_S,
    )


async def serve(options: ReplicaOptions, control_port: int) -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = FaultyServer(options)
    control = web.Application()
    control.router.add_post("/{name}", server.obey)
    orders = _runner(control)
    await orders.setup()
    await server.start()
    await web.TCPSite(orders, HOST, control_port).start()  # last: whoever can give orders can ask as well
    await stop.wait()
    await server.stop()
    await orders.cleanup()


def main(
    port: Annotated[int, typer.Option()],
    control_port: Annotated[int, typer.Option()],
    profile: Annotated[str, typer.Option()] = "llama-3.1-8b-h100",
    speed: Annotated[float, typer.Option()] = 1.0,
) -> None:
    options = ReplicaOptions(host=HOST, port=port, model=MODEL, profile=profile, speed=speed)
    uvloop.run(serve(options, control_port))
    sys.exit(0)


if __name__ == "__main__":
    typer.run(main)
