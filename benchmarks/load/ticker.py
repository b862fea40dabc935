"""Kernel timers: one expires at a fixed rate, one wakes sleepers at their times. Event loops round their timers to
milliseconds; an added latency of tenths of one could not be told from that. Linux timerfd(2).
"""

import contextlib
import ctypes
import functools
import heapq
import itertools
import math
import os
import sys
import time
from asyncio import AbstractEventLoop, Future, TimerHandle
from collections.abc import Callable, Iterator

_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_TIMER_ABSTIME = 1
_LOOP_STEP_S = 0.001


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


@contextlib.contextmanager
def ticking(loop: AbstractEventLoop, rate_per_s: float, on_tick: Callable[[float], None]) -> Iterator[None]:
    """Call `on_tick(due_s)` for every expiry; a late loop gets all it missed, each with the time it was due."""
    interval_ns = round(1e9 / rate_per_s)
    due_ns = time.monotonic_ns() + interval_ns
    timer = _made()
    _set(timer, due_ns, interval_ns)

    def expired() -> None:
        nonlocal due_ns
        try:
            count = int.from_bytes(os.read(timer, 8), sys.byteorder)
        except BlockingIOError:
            return
        for _ in range(count):
            on_tick(due_ns / 1e9)
            due_ns += interval_ns

    loop.add_reader(timer, expired)
    try:
        yield
    finally:
        loop.remove_reader(timer)
        os.close(timer)


class Alarms:
    """Sleep until a time of `time.monotonic`, never shorter. Where the kernel has no such timer, to a millisecond."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._numbers = itertools.count()
        self._sleepers: list[tuple[float, int, Future[None]]] = []
        self._timer = _made() if sys.platform == "linux" else None
        self._handle: TimerHandle | None = None
        if self._timer is not None:
            loop.add_reader(self._timer, self._ring)

    async def until(self, due_s: float) -> None:
        if due_s <= time.monotonic():
            return
        sleeper = self._loop.create_future()
        heapq.heappush(self._sleepers, (due_s, next(self._numbers), sleeper))
        if self._sleepers[0][2] is sleeper:
            self._arm()
        await sleeper

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._timer is not None:
            self._loop.remove_reader(self._timer)
            os.close(self._timer)

    def _ring(self) -> None:
        if self._timer is not None:
            with contextlib.suppress(BlockingIOError):
                os.read(self._timer, 8)
        now_s = time.monotonic()
        while self._sleepers and self._sleepers[0][0] <= now_s:
            sleeper = heapq.heappop(self._sleepers)[2]
            if not sleeper.done():
                sleeper.set_result(None)
        if self._sleepers:
            self._arm()

    def _arm(self) -> None:
        due_s = self._sleepers[0][0]
        if self._timer is not None:
            _set(self._timer, math.ceil(due_s * 1e9))
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(due_s - time.monotonic() + _LOOP_STEP_S, self._ring)


def _made() -> int:
    timer: int = _libc().timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK)
    if timer < 0:
        raise _failure()
    return timer


def _set(timer: int, first_ns: int, interval_ns: int = 0) -> None:
    spec = _Itimerspec(
        _Timespec(*divmod(interval_ns, 1_000_000_000)), _Timespec(*divmod(first_ns, 1_000_000_000))
    )
    if _libc().timerfd_settime(timer, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None) < 0:
        raise _failure()


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _failure() -> OSError:
    return OSError(ctypes.get_errno(), f"timerfd: {os.strerror(ctypes.get_errno())}")
