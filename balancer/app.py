"""The composition root: builds everything from the settings, changes what can change, and stops it in order."""

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import AsyncIterator, Callable
from functools import partial
from ssl import SSLError

from aiohttp import web

from balancer.accounting.exporting import tracing_of
from balancer.accounting.metrics import Metrics
from balancer.accounting.outcomes import kept_outcomes, open_outcomes
from balancer.accounting.receipts import Receipts
from balancer.config import ConfigError, Loaded, Mistake, Settings, client_keys, replica_authorization
from balancer.config.build import admission_limits, health_policy, make_decider
from balancer.core.decider import Decider
from balancer.core.fleet.pins import ResponsePins
from balancer.frontend.admin import Admin
from balancer.frontend.assembly import make_handler
from balancer.frontend.auth import ApiKeys
from balancer.frontend.listeners import Listeners
from balancer.frontend.live import Live
from balancer.frontend.own import OwnPages
from balancer.frontend.server import Server, ServerLimits, server_tls
from balancer.frontend.state import States
from balancer.job import LifecycleLimits
from balancer.journal.opening import Journal
from balancer.lifecycle import Lifecycle
from balancer.logs import configure_logging
from balancer.observers.gpu.reader import NvmlReader
from balancer.observers.gpu.watch import GpuWatch
from balancer.observers.supervisor import Supervisor
from balancer.reload import Reloader
from balancer.replicas import Changes, Replicas
from balancer.service_manager import ServiceManager
from balancer.tier_state import Prepared, TierState, prepare

log = logging.getLogger("balancer")

LINGER_S = 0.5
"""How long connections stay open once the listener is closed, with or without a request: who has just come is about to ask."""

NOW_S = 0.01
"""aiohttp takes 0 for "no limit"."""

LAST_WORDS_S = 1.0
"""How long the ends of answers that are broken off may take to reach their clients."""


@contextlib.asynccontextmanager
async def started(loaded: Loaded, reader: NvmlReader | None = None) -> AsyncIterator["Balancer"]:
    """A balancer with its side loops running, not listening yet. `reader` reads this host's GPUs."""
    balancer = Balancer(loaded, reader or NvmlReader())
    try:
        yield balancer
    finally:
        await balancer.close()


class Balancer:
    def __init__(self, loaded: Loaded, reader: NvmlReader) -> None:
        settings = self._settings = loaded.settings
        self._loop = asyncio.get_running_loop()
        self._draining = False
        self._is_draining = lambda: self._draining
        self._tls = server_tls(settings.ssl_certfile, settings.ssl_keyfile)
        self.outcomes = open_outcomes(settings)  # before anything that has to be closed
        self._tracing = tracing_of(settings, os.environ)
        seed = random.SystemRandom().getrandbits(63)
        self.journal = Journal.open(settings, seed)
        if self.journal is not None:
            self.decider: Decider = self.journal.decider
        else:
            self.decider = make_decider(settings, random.Random(seed).random)
        supervisor = self._supervisor = Supervisor()
        loops = supervisor.loops.values()
        self.metrics = Metrics(self.decider.fleet, settings.policy, self.decider.line, loops)
        self.metrics.outcomes = self.outcomes
        self.replicas = Replicas(self.decider, supervisor, self.metrics.observer_failed)
        self.gpus = GpuWatch(self.decider, supervisor, self.metrics.observer_failed, reader)
        self._pins = ResponsePins()
        moods = None if self.outcomes is None else self.outcomes.moods
        self._tiers = TierState(self.decider, self.metrics.tiers, None if moods is None else moods.of)
        receipts = Receipts(settings.receipts)
        self._lifecycle = Lifecycle(
            self.decider, self.replicas.pools, self.metrics, LifecycleLimits(), self._pins, receipts
        )
        self._own = OwnPages(self.decider, self.metrics, self._is_draining)
        self._manager = ServiceManager(os.environ)
        self.reloader = Reloader(loaded, self._prepare, self.metrics.configuration, self._manager)
        states = States(self.decider, self.metrics, self.reloader, loops, self._is_draining)
        live = Live(self.metrics.watch, states, receipts)
        self._admin = Admin(self.decider, self.replicas, self.reloader, receipts, live)
        self._server = Server()
        self._scrapes = web.Server(self._scrape, access_log=None)
        self._admins = web.Server(self._admin, access_log=None)
        self.listeners = Listeners()
        self._prepare(settings)()
        supervisor.start("configuration", self.reloader.watch)
        supervisor.start("silent_replicas", self._lifecycle.watchman.look)
        if self._manager.watchdog_s is not None:
            supervisor.start("watchdog", self._manager.alive)
        supervisor.start("prices", self._tiers.look)
        if self.journal is not None:
            self.metrics.journal = self.journal.file
            supervisor.start("journal", self.journal.keep)

    def _prepare(self, settings: Settings) -> Callable[[], Changes]:
        """What the settings name is read; raises ConfigError. The rest, which cannot fail, is for the caller to call."""
        try:
            keys = client_keys(settings)
        except (OSError, ValueError) as error:
            raise ConfigError([Mistake("api_key_file", f"a readable file of keys: {error}")]) from None
        try:
            server_tls(settings.ssl_certfile, settings.ssl_keyfile)
        except (OSError, SSLError) as error:
            raise ConfigError([Mistake("ssl_certfile", f"a certificate and its key: {error}")]) from None
        return partial(self._apply, settings, ApiKeys(keys), prepare(settings, os.environ))

    def _apply(self, settings: Settings, keys: ApiKeys, prepared: Prepared) -> Changes:
        """Make the settings hold, all that are not marked AT_START. Here and nowhere else, at the start as later."""
        before, self._settings = self._settings, settings
        if (before.log_level, before.log_format) != (settings.log_level, settings.log_format):
            configure_logging(settings.log_level, settings.log_format)
        if self._tls is not None and settings.ssl_certfile is not None:
            self._tls.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile)
        admin_key = settings.admin_api_key
        self._admin.keys = ApiKeys({} if admin_key is None else {admin_key.get_secret_value(): "admin"})
        self._admin.ui = settings.ui
        tiers = self._tiers.apply(prepared)
        self._own.names = prepared.names
        handler, self._admin.explainer = make_handler(
            settings,
            keys,
            tiers,
            lifecycle=self._lifecycle,
            decider=self.decider,
            pins=self._pins,
            own=self._own,
            metrics=self.metrics,
            outcomes=self.outcomes,
            is_draining=self._is_draining,
            tracing=self._tracing,
        )
        self._server.handler, self._server.on_refused = handler, handler.refused_unread
        self.metrics.name_tenants((*keys.names, *settings.tenants))
        self._server.limits = ServerLimits(
            settings.max_body_bytes, settings.max_header_bytes, settings.client_keepalive_timeout_s
        )
        if self.outcomes is not None:
            self.outcomes.keeps = kept_outcomes(settings)
        self._lifecycle.limit(LifecycleLimits.of(settings))
        self.decider.configure(
            health_policy(settings),
            admission_limits(settings),
            panic_threshold=settings.panic_threshold,
            warmup_s=settings.warmup_s,
        )
        changes = self.replicas.apply(settings, replica_authorization(settings), prepared.providers)
        self.gpus.configure(settings)
        return changes

    async def listen(self) -> None:
        """Raises: OSError, if an address is taken or not ours."""
        settings, listeners, shared = self._settings, self.listeners, self._settings.reuse_port
        host = settings.host
        port = await listeners.open(self._server, host, settings.port, tls=self._tls, reuse_port=shared)
        for what, server, own_host, wanted in (
            ("metrics", self._scrapes, settings.prometheus_host, settings.prometheus_port),
            ("admin API", self._admins, settings.admin_host, settings.admin_port),
        ):
            if wanted is not None:
                own_port = await listeners.open(server, own_host, wanted, reuse_port=shared)
                log.info("%s on %s:%d", what, own_host, own_port)
        at = f"{'https' if self._tls else 'http'}://{host}:{port}"
        log.info("listening on %s, policy %s, %d replicas", at, settings.policy, len(self.decider.fleet))

    def serves(self) -> None:
        self._manager.ready(f"{len(self.decider.fleet)} replicas, policy {self._settings.policy}")

    async def drain(self) -> None:
        """Not ready any more; take new requests for a while; then close the port, let the running ones end, and end the rest."""
        self._draining = True
        settings, decider = self._settings, self.decider
        left = f"{decider.fleet.in_flight} requests in flight, {len(decider.line)} held"
        log.info("draining: %s", left)
        self._manager.stopping(f"draining: {left}")
        await asyncio.sleep(settings.drain_delay_s)
        # who watches and operates may do so to the end, unless a successor on the same port is there for that
        await self.listeners.close(*(() if settings.reuse_port else (self._server,)))
        await asyncio.sleep(min(LINGER_S, settings.drain_timeout_s))
        self._server.pre_shutdown()
        patience = self._loop.call_later(settings.drain_timeout_s, self._end_all)
        await self._answers_end(settings.drain_timeout_s + LAST_WORDS_S)
        patience.cancel()

    async def close(self) -> None:
        """End what is left, visibly, in about a second."""
        self._draining = True
        await self.listeners.close()
        self._server.pre_shutdown()
        self._end_all()
        await self._answers_end(LAST_WORDS_S)
        for server in (self._server, self._scrapes, self._admins):
            await server.shutdown(NOW_S)
        await self._supervisor.stop()
        await self.gpus.close()
        await self._tiers.close()
        await self.replicas.close()
        if self.journal is not None:
            self.journal.close()
        if self.outcomes is not None:
            await self.outcomes.close()
        if self._tracing is not None:
            await self._tracing.close()
        log.info("stopped")

    async def _answers_end(self, within_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._server.shutdown(None)

    def _end_all(self) -> None:
        ended = self._lifecycle.end_all()
        if ended:
            log.warning("%d requests are ended before their answer was whole", ended)

    async def _scrape(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path != "/metrics":
            return web.Response(status=404)
        return await self._own.metrics(request)
