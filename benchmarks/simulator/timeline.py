"""Virtual time: what is to happen, in order. Events at one instant happen in the order in which they were planned."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any


class Timeline:
    def __init__(self) -> None:
        self.now = 0.0
        self.stopped = False
        self._planned: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._order = count()

    def at(self, time_s: float, action: Callable[[Any], None], subject: Any) -> None:
        heappush(self._planned, (time_s, next(self._order), action, subject))

    def run(self, until_s: float) -> None:
        """Until that time, or until somebody sets `stopped`, or nothing is left to happen."""
        planned = self._planned
        while planned and not self.stopped:
            time_s, _, action, subject = heappop(planned)
            if time_s > until_s:
                self.now = until_s
                return
            self.now = time_s
            action(subject)
