"""A thread for calls that may hang, as those of a broken driver do.

There is one, for good: while it hangs nothing more is given to it, so none pile up; when what hung comes back after all, its
outcome is dropped and the thread is used again. It is a daemon, so the process ends without it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class HungError(Exception):
    """The work was not done in time, or what was given before it is not done yet."""


class Worker(Generic[T]):
    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[tuple[Callable[[], T], asyncio.Future[T]] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._under_way: asyncio.Future[T] | None = None

    async def do(self, work: Callable[[], T], timeout_s: float) -> T:
        """Raises: HungError, and what the work raises."""
        if self._under_way is not None and not self._under_way.done():
            raise HungError("it has not returned yet")
        if self._thread is None:
            self._thread = Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._under_way = outcome
        self._work.put((work, outcome))
        # who waits may be cancelled, and what is under way goes on: it says when the thread is free again
        done, _ = await asyncio.wait([outcome], timeout=timeout_s)
        if not done:
            outcome.add_done_callback(_look_at)
            raise HungError(f"it has not returned within {timeout_s:g} s")
        return outcome.result()

    def close(self) -> None:
        """The thread ends with what it does."""
        self._work.put(None)

    def _run(self) -> None:
        while (given := self._work.get()) is not None:
            work, outcome = given
            try:
                tell = partial(_settle, outcome, work(), None)
            except Exception as error:  # noqa: BLE001 - it is told to who asked
                tell = partial(_settle, outcome, None, error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                outcome.get_loop().call_soon_threadsafe(tell)


def _settle(outcome: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if outcome.done():
        return
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(result)


def _look_at(outcome: asyncio.Future[Any]) -> None:
    """Else asyncio complains that nobody did."""
    if not outcome.cancelled():
        outcome.exception()
