"""Side loops under supervision: a step that fails is tried again, later and later; none is lost silently."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

log = logging.getLogger("balancer.observers")

JITTER = 0.1
"""Share of the period by which a loop varies, so that many loops don't fall into step."""

MAX_BACKOFF_S = 60.0


class Supervisor:
    """`last_success` holds, per loop, the event loop's time at which its step last ended well."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.last_success: dict[str, float] = {}

    def start(self, name: str, step: Callable[[], Awaitable[float]]) -> None:
        """Run `step` for ever; it returns the seconds until it wants to run again. The first run is at once."""
        self._tasks[name] = asyncio.create_task(self._loop(name, step), name=name)  # noqa: TID251 - owned here

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()

    async def _loop(self, name: str, step: Callable[[], Awaitable[float]]) -> None:
        failures = 0
        while True:
            try:
                pause_s = await step()
            except Exception:
                failures += 1
                pause_s = min(MAX_BACKOFF_S, 2.0 ** min(failures, 10))
                log.exception("%s failed, next try in %.0f s", name, pause_s)
            else:
                failures = 0
                self.last_success[name] = asyncio.get_running_loop().time()
            await asyncio.sleep(pause_s * (1 + JITTER * (2 * random.random() - 1)))
