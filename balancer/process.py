"""The process: its event loop, the signals it takes, and its exit status."""

import asyncio
import gc
import logging
import signal

import uvloop

from balancer.app import Balancer, started
from balancer.config import Loaded
from balancer.logs import configure_logging

log = logging.getLogger("balancer")


def run(loaded: Loaded) -> int:
    """Serve until SIGTERM or SIGINT; the process's exit status."""
    settings = loaded.settings
    configure_logging(settings.log_level, settings.log_format)
    factory = uvloop.new_event_loop if settings.event_loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_serve(loaded))


async def _serve(loaded: Loaded) -> int:
    async with started(loaded) as balancer:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, balancer.reloader.ask)
        try:
            await balancer.listen()
        except OSError as error:
            log.error("cannot listen on %s", error.strerror or error)  # noqa: TRY400 - no defect
            return 1
        # what is there now stays; a proxy makes little garbage in cycles, and much that lives as long as a request
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        balancer.serves()
        await until_stopped(balancer)
    return 0


async def until_stopped(balancer: Balancer) -> None:
    """Until SIGTERM or SIGINT; then drain. A second signal ends the draining."""
    loop, stop, now = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (now if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await stop.wait()
    async with asyncio.TaskGroup() as group:
        drain = group.create_task(balancer.drain())
        hurry = group.create_task(now.wait())
        await asyncio.wait((drain, hurry), return_when=asyncio.FIRST_COMPLETED)
        drain.cancel()
        hurry.cancel()
