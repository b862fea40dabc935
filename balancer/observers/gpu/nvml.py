"""The NVML library, as calls that fail in no unexpected way. The only module that knows pynvml (nvidia-ml-py).

Whatever a call raises, one of three things follows. The GPU is lost or wants a reset: nothing further is asked of it. The library
has lost its driver: it is shut down, and initialised anew at the next reading. Anything else: the value is absent, and why is
logged, each reason once for each value.

Everything here blocks, and belongs into a thread of its own (worker.py). Errors are NVML's (nvmlReturn_t).
"""

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from balancer.core.fleet.gpu import Faults

log = logging.getLogger("balancer.gpu")

LOST = frozenset({15, 16, 28})  # GPU_IS_LOST, RESET_REQUIRED, GPU_NOT_FOUND
DRIVER_GONE = frozenset({1, 9, 18})  # UNINITIALIZED, DRIVER_NOT_LOADED, LIB_RM_VERSION_MISMATCH
_REPLACED = 18
_XID_EVENTS = 8  # nvmlEventTypeXidCriticalError
MAX_EVENTS = 64
"""Events that are fetched in one reading."""


class UnreadableError(Exception):
    """Nothing can be read now; the text says why."""


class LostError(Exception):
    """The GPU answers no more."""


@dataclass(slots=True, eq=False)
class Gpu:
    """What is remembered of a GPU from one reading to the next. `unreadable`: what, and why, as logged."""

    uuid: str
    index: int
    name: str | None = None
    faults: Faults = field(default_factory=Faults)
    unreadable: set[tuple[str, str]] = field(default_factory=set)
    sm_clock_max_hz: float | None = None
    lost: bool = False
    watched: bool = False

    def __str__(self) -> str:
        return f"GPU {self.index} ({self.name or self.uuid})"


def load() -> Any:
    """The binding. Raises: UnreadableError."""
    try:
        return importlib.import_module("pynvml")
    except ImportError as error:
        raise UnreadableError(f"nvidia-ml-py cannot be imported: {error}") from None


class Nvml:
    """`lib` is None while the library is not initialised. `begun` counts how often it was."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load
        self.lib: Any = None
        self.begun = 0
        self.driver: str | None = None
        self._events: Any = None

    def begin(self) -> None:
        """Initialise it, if it is not. Raises: UnreadableError."""
        if self.lib is not None:
            return
        lib = self._load()
        try:
            lib.nvmlInit()
        except Exception as error:  # noqa: BLE001 - a binding may raise anything
            hint = "; the driver was replaced under this process, which must be restarted"
            raise UnreadableError(text(error) + hint * (code(error) == _REPLACED)) from None
        self.lib = lib
        self.begun += 1
        self.driver = self._optional("nvmlSystemGetDriverVersion")
        self._events = self._optional("nvmlEventSetCreate")

    def end(self) -> None:
        """So that the next reading begins anew."""
        if self.lib is not None:
            self._optional("nvmlShutdown")
        self.lib = self._events = None

    def count(self) -> int:
        """Raises: UnreadableError."""
        try:
            return int(self.lib.nvmlDeviceGetCount() or 0)
        except Exception as error:  # noqa: BLE001 - a binding may raise anything
            self.end()
            raise UnreadableError(text(error)) from None

    def identity(self, call: str, *arguments: Any) -> tuple[Any, str]:
        """A handle and its UUID. Raises: LostError, UnreadableError, and LookupError with the reason, if it can't be told."""
        try:
            handle = getattr(self.lib, call)(*arguments)
            uuid = self.lib.nvmlDeviceGetUUID(handle)
        except Exception as error:  # noqa: BLE001 - a binding may raise anything
            self._judge(error)
            raise LookupError(text(error)) from None
        if not isinstance(uuid, str) or not uuid:
            raise LookupError("no UUID")
        return handle, uuid

    def ask(self, gpu: Gpu, what: str, call: str, *arguments: Any) -> Any:
        """The value, or None. Raises: LostError, UnreadableError."""
        return self.first(gpu, what, (call, *arguments))

    def first(self, gpu: Gpu, what: str, *calls: tuple[Any, ...]) -> Any:
        """The value by the first call that has one, or None: libraries know some of them by an older name only.

        Raises: LostError, UnreadableError.
        """
        why = ""
        for call, *arguments in calls:
            try:
                value = getattr(self.lib, call)(*arguments)
            except Exception as error:  # noqa: BLE001 - one value must not take the others along, whatever it raises
                self._judge(error)
                why = why or text(error)
                continue
            if value is not None:
                return value
            why = why or "no value"
        self.note(gpu, what, why)
        return None

    def note(self, gpu: Gpu, what: str, why: str) -> None:
        if (what, why) not in gpu.unreadable:
            gpu.unreadable.add((what, why))
            log.info("%s: %s cannot be read: %s", gpu, what, why)

    def watch(self, gpu: Gpu, handle: Any) -> None:
        """Have its Xids told. Raises: LostError, UnreadableError."""
        gpu.watched = True
        if self._events is not None:
            # returns None, so nothing tells a success from no value
            try:
                self.lib.nvmlDeviceRegisterEvents(handle, _XID_EVENTS, self._events)
            except Exception as error:  # noqa: BLE001 - a binding may raise anything
                self._judge(error)
                self.note(gpu, "Xid events", text(error))

    def xids(self) -> list[tuple[str, int]]:
        """UUID and number of each Xid that came since, without waiting for any."""
        found: list[tuple[str, int]] = []
        while self._events is not None and len(found) < MAX_EVENTS:
            try:
                event = self.lib.nvmlEventSetWait_v2(self._events, 0)
                found.append((self.lib.nvmlDeviceGetUUID(event.device), int(event.eventData)))
            except Exception as error:  # noqa: BLE001 - a binding may raise anything; usually it says that there is none
                log.debug("events: %s", text(error))
                break
        return found

    def _judge(self, error: Exception) -> None:
        """Raises: LostError, UnreadableError, where the error says more than that a value is absent."""
        if code(error) in LOST:
            raise LostError(text(error)) from None
        if code(error) in DRIVER_GONE:
            self.end()
            raise UnreadableError(text(error)) from None

    def _optional(self, call: str) -> Any:
        """Nothing depends on it."""
        try:
            return getattr(self.lib, call)()
        except Exception as error:  # noqa: BLE001 - a binding may raise anything
            log.debug("%s: %s", call, text(error))
            return None


def code(error: Exception) -> int | None:
    """NVML's number of the error; None if it is no error of NVML's."""
    number = getattr(error, "value", None)
    return number if type(number) is int else None


def text(error: Exception) -> str:
    return str(error) or type(error).__name__
