"""A sum over the last so many seconds, whose size does not depend on how much is added to it."""

from collections import deque

STEPS = 36
"""The oldest of so many steps is forgotten at once: a sum reaches back between 35/36 of the window and all of it."""


class Window:
    __slots__ = ("_step_s", "_steps", "_total")

    def __init__(self, length_s: float) -> None:
        self._step_s = length_s / STEPS
        self._steps: deque[tuple[int, float]] = deque()
        self._total = 0.0

    def add(self, amount: float, now: float) -> None:
        step, before = self._forget(now), 0.0
        if self._steps and self._steps[-1][0] == step:
            _, before = self._steps.pop()
        self._steps.append((step, before + amount))
        self._total += amount

    def total(self, now: float) -> float:
        self._forget(now)
        return self._total

    def _forget(self, now: float) -> int:
        step = int(now / self._step_s)
        while self._steps and self._steps[0][0] <= step - STEPS:
            self._total -= self._steps.popleft()[1]
        if not self._steps:
            self._total = 0.0  # no rounding is carried on
        return step
