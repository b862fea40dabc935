"""The composition root: builds everything from the settings, starts it, and stops it in order."""

import asyncio
import contextlib
import gc
import logging
import random
import signal
from collections.abc import AsyncIterator

import uvloop
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web

from balancer.accounting.metrics import Metrics
from balancer.config import Settings, client_keys
from balancer.config.build import make_decider
from balancer.core.decider import Decider
from balancer.core.fleet.pins import ResponsePins
from balancer.core.types import ReplicaId
from balancer.forwarding.pool import ConnectionPool, UpstreamLimits
from balancer.frontend.auth import ApiKeys
from balancer.frontend.claims import Claims
from balancer.frontend.handler import Handler
from balancer.frontend.own import OwnPages
from balancer.frontend.realtime import Realtime
from balancer.frontend.server import make_server, server_tls
from balancer.job import LifecycleLimits
from balancer.lifecycle import Lifecycle
from balancer.logs import configure_logging
from balancer.observers.replica_watch import ReplicaWatch
from balancer.observers.supervisor import Supervisor
from balancer.resuming import ResumePolicy
from balancer.vllm_api.routes import inference_routes

log = logging.getLogger("balancer")

BACKLOG = 4096
NOW_S = 0.01
"""aiohttp takes 0 for "no limit"."""


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the process's exit status."""
    configure_logging(settings.log_level, settings.log_format)
    factory = uvloop.new_event_loop if settings.event_loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    async with started(settings) as balancer:
        try:
            await balancer.listen()
        except OSError as error:
            message = error.strerror or error
            log.error("cannot listen on %s:%d: %s", settings.host, settings.port, message)  # noqa: TRY400 - no defect
            return 1
        # what is there now stays; a proxy makes little garbage in cycles, and much that lives as long as a request
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        await balancer.until_stopped()
    return 0


@contextlib.asynccontextmanager
async def started(settings: Settings) -> AsyncIterator["Balancer"]:
    """A balancer with its side loops running, not listening yet."""
    balancer = Balancer(settings)
    balancer.watch()
    try:
        yield balancer
    finally:
        await balancer.close()


class Balancer:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._draining = False
        self._listeners: list[asyncio.Server] = []
        self.ports: list[int] = []
        key = settings.replica_api_key
        self._authorization = None if key is None else f"Bearer {key.get_secret_value()}"
        self.decider: Decider = make_decider(settings, random.Random().random)
        self._supervisor = Supervisor()
        self.metrics = Metrics(
            self.decider.fleet, settings.policy, self.decider.line, self._supervisor.loops.values()
        )
        self._pools = self._make_pools()
        self._probes = ClientSession(
            connector=TCPConnector(limit=0, keepalive_timeout=settings.upstream_keepalive_s),
            cookie_jar=DummyCookieJar(),
        )
        pins = ResponsePins()
        lifecycle = Lifecycle(
            self.decider,
            self._pools,
            self.metrics,
            LifecycleLimits(
                settings.max_attempts,
                settings.first_byte_timeout_s,
                settings.idle_timeout_s,
                settings.client_stall_timeout_s,
                settings.retry_budget,
                ResumePolicy(settings.resume, settings.resume_sampled),
            ),
            replica_authorization=None if self._authorization is None else self._authorization.encode(),
            pins=pins,
        )
        self._watchman = lifecycle.watchman
        own = OwnPages(self.decider, self.metrics, lambda: self._draining)
        self._realtime = Realtime(
            self.decider,
            replica_authorization=self._authorization,
            connect_timeout_s=settings.connect_timeout_s,
        )
        handler = Handler(
            lifecycle,
            self.decider,
            pins,
            own,
            self._realtime,
            inference_routes(scale_out=settings.scale_out_routes),
            ApiKeys(client_keys(settings)),
            Claims(settings.timeout_headers, settings.tenant_header),
            session_headers=settings.session_headers,
            request_id_headers=settings.request_id_headers if settings.access_log else None,
            max_body_bytes=settings.max_body_bytes,
        )
        self._server = make_server(
            handler,
            max_body_bytes=settings.max_body_bytes,
            max_header_bytes=settings.max_header_bytes,
            keepalive_timeout_s=settings.client_keepalive_timeout_s,
        )
        self._servers: list[web.Server] = [self._server]
        self._own = own

    def watch(self) -> None:
        """Start the side loops."""
        settings = self._settings
        for replica in self.decider.fleet:
            watch = ReplicaWatch(
                replica,
                self.decider,
                self._probes,
                settings,
                authorization=self._authorization,
                on_failure=self.metrics.observer_failed,
            )
            self._supervisor.start("health", watch.probe_health, replica.id)
            self._supervisor.start("models", watch.read_models, replica.id)
            self._supervisor.start("metrics", watch.read_metrics, replica.id)
        self._supervisor.start("idle_connections", self._sweep)
        self._supervisor.start("silent_replicas", self._watchman.look)

    async def listen(self) -> None:
        """Raises: OSError, if an address is taken or not ours."""
        settings = self._settings
        tls = server_tls(settings.ssl_certfile, settings.ssl_keyfile)
        listener = await self._loop.create_server(
            self._server,
            settings.host,
            settings.port,
            ssl=tls,
            backlog=BACKLOG,
            reuse_address=True,
            reuse_port=settings.reuse_port or None,
        )
        self._listeners.append(listener)
        port = _port_of(listener)
        self.ports.append(port)
        if settings.prometheus_port is not None:
            scrape = web.Server(self._scrape, access_log=None)
            self._servers.append(scrape)
            self._listeners.append(
                await self._loop.create_server(scrape, settings.prometheus_host, settings.prometheus_port)
            )
            self.ports.append(_port_of(self._listeners[-1]))
        log.info(
            "listening on %s://%s:%d, policy %s, %d replicas",
            "https" if tls else "http",
            settings.host,
            port,
            settings.policy,
            len(self.decider.fleet),
        )

    async def until_stopped(self) -> None:
        """Until SIGTERM or SIGINT; then drain. A second signal ends the draining."""
        stop, now = asyncio.Event(), asyncio.Event()

        def on_signal() -> None:
            (now if stop.is_set() else stop).set()

        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, on_signal)
        await stop.wait()
        async with asyncio.TaskGroup() as group:
            drain = group.create_task(self.drain())
            hurry = group.create_task(now.wait())
            await asyncio.wait((drain, hurry), return_when=asyncio.FIRST_COMPLETED)
            drain.cancel()
            hurry.cancel()

    async def drain(self) -> None:
        """Not ready any more; take new requests for a while; then close the port and let the running ones end."""
        self._draining = True
        settings = self._settings
        log.info("draining: %d requests in flight, %d held", self._in_flight(), len(self.decider.line))
        await asyncio.sleep(settings.drain_delay_s)
        for listener in self._listeners:
            listener.close()
        self._server.pre_shutdown()
        await self._server.shutdown(settings.drain_timeout_s)

    async def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        for server in self._servers:
            await server.shutdown(NOW_S)
        await self._supervisor.stop()
        await self._probes.close()
        await self._realtime.close()
        for pool in self._pools.values():
            pool.close()
        log.info("stopped")

    def _make_pools(self) -> dict[ReplicaId, ConnectionPool]:
        settings = self._settings
        limits = UpstreamLimits(
            settings.connect_timeout_s,
            settings.upstream_keepalive_s,
            settings.first_byte_timeout_s,
            settings.idle_timeout_s,
        )
        return {replica.id: ConnectionPool(replica.url, limits, self._loop) for replica in self.decider.fleet}

    def _in_flight(self) -> int:
        return sum(replica.in_flight for replica in self.decider.fleet)

    async def _sweep(self) -> float:
        for pool in self._pools.values():
            pool.sweep()
        return 1.0

    async def _scrape(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path != "/metrics":
            return web.Response(status=404)
        return self._own.metrics(request)


def _port_of(listener: asyncio.Server) -> int:
    name = listener.sockets[0].getsockname()
    return int(name[1])
