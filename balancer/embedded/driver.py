"""Runs the engine model in real time: one task that sleeps each step's duration and wakes those who wait for tokens.

A step is due when the one before was due, plus its duration: the time that Python itself takes is made up for, so that
the modelled rates hold. What cannot be made up for (the machine is too slow for the load) is dropped beyond a second.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from balancer.embedded.engine import Engine, EngineRequest, EngineSequence, Phase, StepResult

MAX_LAG_S = 1.0

logger = logging.getLogger(__name__)


class EngineDeadError(Exception):
    """The engine's task has failed; nothing runs any more."""


class Batch:
    """The sequences of one HTTP request, and a place to wait for what they produce."""

    def __init__(self, sequences: Sequence[EngineSequence], *, streaming: bool) -> None:
        self.sequences = sequences
        self.streaming = streaming
        self.error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def done(self) -> bool:
        return all(sequence.phase in {Phase.FINISHED, Phase.ABORTED} for sequence in self.sequences)

    async def progress(self) -> None:
        """Until a token came out (only if streaming) or all is done."""
        if self.error is not None:
            raise self.error
        if self.done:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def finished(self) -> None:
        while not self.done:
            await self.progress()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def fail(self, error: Exception) -> None:
        self.error = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)


class EngineDriver:
    """Owns the engine's task. `observe` is called after each step, with the time at which it ended."""

    def __init__(self, engine: Engine, *, speed: float, observe: Callable[[StepResult, float], None]) -> None:
        self.engine = engine
        self.speed = speed
        self.error: EngineDeadError | None = None
        self._observe = observe
        self._batches: dict[str, Batch] = {}
        self._work = asyncio.Event()
        self._running = asyncio.Event()
        self._running.set()
        self._task: asyncio.Task[None] | None = None

    @staticmethod
    def now() -> float:
        return asyncio.get_running_loop().time()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="engine")
        self._task.add_done_callback(self._died)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def submit(self, requests: Sequence[EngineRequest], *, streaming: bool) -> Batch:
        """Queue requests that belong together; the caller has seen that the engine has room for all of them."""
        if self.error is not None:
            raise self.error
        now = self.now()
        batch = Batch([self.engine.submit(request, now) for request in requests], streaming=streaming)
        for request in requests:
            self._batches[request.request_id] = batch
        self._work.set()
        return batch

    def abort(self, batch: Batch) -> None:
        """Drop what is unfinished of the batch, at once."""
        for sequence in batch.sequences:
            request_id = sequence.request.request_id
            if self._batches.pop(request_id, None) is not None:
                self.engine.abort(request_id, self.now())
        batch.wake()

    def hold(self) -> None:
        """Begin no further step: what is there, and what comes, waits."""
        self._running.clear()

    def go_on(self) -> None:
        self._running.set()

    async def _run(self) -> None:
        engine = self.engine
        due = self.now()
        while True:
            if not self._running.is_set():
                await self._running.wait()
                due = self.now()
            duration_s = engine.start_step(self.now())
            if duration_s is None:
                self._work.clear()
                await self._work.wait()
                due = self.now()
                continue
            due = max(due + duration_s / self.speed, self.now() - MAX_LAG_S)
            await asyncio.sleep(max(0.0, due - self.now()))
            now = self.now()
            result = engine.finish_step(now)
            self._observe(result, now)
            self._deliver(result)

    def _deliver(self, result: StepResult) -> None:
        for sequence in self.engine.decoding:
            batch = self._batches[sequence.request.request_id]
            if batch.streaming:
                batch.wake()
        for sequence in result.finished:
            batch = self._batches.pop(sequence.request.request_id)
            if batch.streaming or batch.done:
                batch.wake()

    def _died(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        self.error = EngineDeadError("EngineCore encountered an issue.")
        self.error.__cause__ = cause = task.exception()
        logger.critical("the engine has died; nothing is served any more", exc_info=cause)
        for batch in set(self._batches.values()):
            batch.fail(self.error)
        self._batches.clear()
