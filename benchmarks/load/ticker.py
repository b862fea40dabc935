"""A kernel timer that expires at a fixed rate. Event loops round their timers to milliseconds; an added latency
of tenths of one could not be told from that. Linux timerfd(2).
"""

import contextlib
import ctypes
import os
import sys
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator

_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_TIMER_ABSTIME = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


@contextlib.contextmanager
def ticking(loop: AbstractEventLoop, rate_per_s: float, on_tick: Callable[[float], None]) -> Iterator[None]:
    """Call `on_tick(due_s)` for every expiry; a late loop gets all it missed, each with the time it was due."""
    interval_ns = round(1e9 / rate_per_s)
    due_ns = time.monotonic_ns() + interval_ns
    timer = _start(due_ns, interval_ns)

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


def _start(first_ns: int, interval_ns: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    timer: int = libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK)
    spec = _Itimerspec(
        _Timespec(*divmod(interval_ns, 1_000_000_000)), _Timespec(*divmod(first_ns, 1_000_000_000))
    )
    if timer < 0 or libc.timerfd_settime(timer, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None) < 0:
        raise OSError(ctypes.get_errno(), f"timerfd: {os.strerror(ctypes.get_errno())}")
    return timer
