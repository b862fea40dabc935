"""Side loops under supervision: a step that fails is tried again, later and later; none is lost silently."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic

log = logging.getLogger("balancer.observers")

JITTER = 0.1
"""Share of the period by which a loop varies, so that many loops don't fall into step."""

MAX_BACKOFF_S = 60.0


@dataclass(slots=True)
class Loop:
    """One side loop: `kind` says what it does, `subject` for whom, if for somebody. Its beginning counts
    as a success, so that one that never has any grows old, too.
    """

    kind: str
    subject: str
    last_success_s: float
    restarts: int = 0


class Supervisor:
    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self.loops: dict[tuple[str, str], Loop] = {}

    def start(self, kind: str, step: Callable[[], Awaitable[float]], subject: str = "") -> asyncio.Task[None]:
        """Run `step` for ever; it returns the seconds until it wants to run again. The first run is at once. Cancelling the task
        ends the loop; of two of a name, the later is told of.
        """
        loop = Loop(kind, subject, monotonic())
        self.loops[kind, subject] = loop
        name = f"{kind} of {subject}" if subject else kind
        task = asyncio.create_task(self._run(name, loop, step), name=name)  # noqa: TID251 - owned here
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, loop))
        return task

    def _ended(self, loop: Loop, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self.loops.get((loop.kind, loop.subject)) is loop:
            del self.loops[loop.kind, loop.subject]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, name: str, loop: Loop, step: Callable[[], Awaitable[float]]) -> None:
        failures = 0
        while True:
            try:
                pause_s = await step()
            except Exception:
                failures += 1
                loop.restarts += 1
                pause_s = min(MAX_BACKOFF_S, 2.0 ** min(failures, 10))
                log.exception("%s failed, next try in %.0f s", name, pause_s)
            else:
                failures = 0
                loop.last_success_s = monotonic()
            await asyncio.sleep(pause_s * (1 + JITTER * (2 * random.random() - 1)))
