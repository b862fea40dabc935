"""`balancer agent`: tells balancers on other hosts of this host's GPUs.

`/gpus` is what a balancer reads (observers/gpu/wire.py), `/metrics` is for Prometheus, `/health` says that the process lives. The
reader is the balancer's own. Nothing can be changed by asking, but whoever reaches the port may look: it listens on the loopback
unless told otherwise.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from aiohttp import web

from balancer.accounting import gpu_metrics
from balancer.core.fleet.gpu import GPU_MAX_AGE_S, GpuReading, GpuSample
from balancer.logs import configure_logging
from balancer.observers.gpu import wire
from balancer.observers.gpu.nvml import UnreadableError
from balancer.observers.gpu.reader import NvmlReader
from balancer.observers.gpu.worker import HungError, Worker
from balancer.observers.supervisor import Supervisor

log = logging.getLogger("balancer.agent")

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """A mistake in here is a ValueError that names the option. `interval_s` is the time between two readings."""

    host: str = "127.0.0.1"
    port: int = 9401
    interval_s: float = 1.0

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host: expected an address, got nothing")
        if not 0 <= self.port < 65536:
            raise ValueError(f"port: expected 0 to 65535, got {self.port}")
        if not 0 < self.interval_s <= GPU_MAX_AGE_S / 3:
            raise ValueError(
                f"interval_s: expected above 0 and at most {GPU_MAX_AGE_S / 3:g}, got {self.interval_s:g}"
            )


class Agent:
    """What was read last, and why nothing could be, if nothing could."""

    def __init__(self, reader: NvmlReader, interval_s: float) -> None:
        self._reader = reader
        self._interval_s = interval_s
        self._worker: Worker[tuple[GpuSample, ...]] = Worker("nvml")
        self._samples: tuple[GpuSample, ...] = ()
        self._problem: str | None = "nothing was read yet"
        self._host = socket.gethostname()
        self.app = web.Application()
        self.app.add_routes(
            [
                web.get("/gpus", self._gpus),
                web.get("/metrics", self._metrics),
                web.get("/health", self._health),
            ]
        )

    async def read(self) -> float:
        """Once; the seconds until it should be done again."""
        problem: str | None = None
        try:
            self._samples = await self._worker.do(self._reader.read, TIMEOUT_S)
        except (UnreadableError, HungError) as error:
            problem = str(error)
        if problem != self._problem:
            if problem is not None:
                log.warning("GPUs cannot be read: %s", problem)
            elif self._samples:
                log.info("%d GPUs are read", len(self._samples))
            else:
                log.warning("there are no GPUs")
        self._problem = problem
        return self._interval_s

    def close(self) -> None:
        self._worker.close()

    def _fresh(self, now: float) -> tuple[GpuSample, ...]:
        return tuple(sample for sample in self._samples if now - sample.taken_at <= GPU_MAX_AGE_S)

    async def _gpus(self, _: web.Request) -> web.Response:
        """What was read last stays true for a while, even if nothing can be read just now."""
        now = monotonic()
        samples = self._fresh(now)
        body = wire.written(
            samples,
            now,
            host=self._host,
            driver=self._reader.driver,
            problem=None if samples else self._problem,
        )
        return web.Response(body=body, content_type="application/json")

    async def _metrics(self, request: web.Request) -> web.Response:
        now = monotonic()
        readings = {"": GpuReading(self._host, now, self._fresh(now))}
        page, content_type = gpu_metrics.page(readings, now, request.headers.get("Accept", ""))
        return web.Response(body=page, headers={"Content-Type": content_type})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()


def run_agent(options: AgentOptions) -> int:
    """Serve until SIGTERM or SIGINT; the process's exit status."""
    configure_logging("info", "console")
    return asyncio.run(_serve(options))


async def _serve(options: AgentOptions) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await serve_agent(options, NvmlReader(), stop, ready=lambda _: None)


async def serve_agent(
    options: AgentOptions, reader: NvmlReader, stop: asyncio.Event, ready: Callable[[int], None]
) -> int:
    """Until `stop`; `ready` is told the port. The exit status: 1, if the address is taken or not ours."""
    agent, supervisor = Agent(reader, options.interval_s), Supervisor()
    runner = web.AppRunner(agent.app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, options.host, options.port).start()
        except OSError as error:
            log.error("cannot listen on %s:%d: %s", options.host, options.port, error.strerror or error)  # noqa: TRY400 - no defect
            return 1
        port = int(runner.addresses[0][1])
        log.info("listening on http://%s:%d", options.host, port)
        ready(port)
        supervisor.start("gpus", agent.read)
        await stop.wait()
    finally:
        await supervisor.stop()
        agent.close()
        await runner.cleanup()
    return 0
