"""What an event says in few bytes: names and ids by number once they were said, times as steps of the clock."""

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

MOST_NAMES = 4096
MOST_IDS = 1 << 16
NS = 1e9


class Names(Generic[T]):
    """A name is said once and called by its number then, until there are `most`: what comes later is said each time."""

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._most = most
        self._numbers: dict[T, int] = {}

    def code(self, name: T) -> T | int:
        number = self._numbers.get(name)
        if number is not None:
            return number
        if len(self._numbers) < self._most:
            self._numbers[name] = len(self._numbers)
        return name


class Named(Generic[T]):
    """The other side."""

    def __init__(self, kind: type[T], most: int = MOST_NAMES) -> None:
        self._kind = kind
        self._most = most
        self._names: list[T] = []

    def name(self, code: object) -> T:
        """Raises: ValueError, if it is neither a name nor the number of one."""
        if type(code) is int:
            if not 0 <= code < len(self._names):
                raise ValueError("a name that was never said")
            return self._names[code]
        if not isinstance(code, self._kind):
            raise ValueError(f"no {self._kind.__name__}")  # noqa: TRY004 - damage, whatever it is
        if len(self._names) < self._most:
            self._names.append(code)
        return code


class Ticks:
    """Times as whole nanoseconds since the one before, if that gives the very same number again, as it does of the system's
    clock; else as they are.
    """

    def __init__(self) -> None:
        self._ns = 0

    def code(self, now: float) -> int | float:
        ns = round(now * NS)
        if ns / NS != now:
            return now
        step, self._ns = ns - self._ns, ns
        return step

    def ago(self, at: float) -> int | float:
        """Another time, beside the last one."""
        ns = round(at * NS)
        return self._ns - ns if ns / NS == at else at


class Ticked:
    """The other side."""

    def __init__(self) -> None:
        self._ns = 0

    def time(self, code: object) -> float:
        """Raises: ValueError, if it is no time."""
        if type(code) is int:
            self._ns += code
            return self._ns / NS
        if type(code) is float:
            return code
        raise ValueError("no time")

    def ago(self, code: object) -> float:
        """Raises: ValueError, if it is no time."""
        if type(code) is int:
            return (self._ns - code) / NS
        if type(code) is float:
            return code
        raise ValueError("no time")
