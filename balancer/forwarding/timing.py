"""When things happened to one attempt. Seconds on the monotonic clock; the event loop's, where that is at hand."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Timing:
    """`connected_s` is how long it took to open a connection, None if one was open."""

    connected_s: float | None = None
    sent_at: float | None = None
    begun_at: float | None = None  # some byte came back: the replica has the request


class Gaps:
    """The time between the tokens of one stream, read by read. Where one read brought several, its gap is an equal part for
    each.
    """

    __slots__ = ("_observe", "_since_s", "_told")

    def __init__(self, observe: Callable[[float, int], None]) -> None:
        """`observe` is called with the seconds between two tokens, and how many were at that distance."""
        self._observe = observe
        self._since_s = 0.0
        self._told = -1

    def heard(self, tokens: int, at_s: float) -> None:
        """Of each read from the first token on: how many tokens have come behind that one."""
        told = self._told
        if tokens > told:
            if told >= 0:
                count = tokens - told
                self._observe((at_s - self._since_s) / count, count)
            self._since_s, self._told = at_s, tokens
