"""How fast a queue drains: requests sent from it a second, over the time in which somebody waited.

    per_s = sent / seconds        both decayed by exp(-dt / WINDOW_S), so that the last half minute counts most

`wait_s` counts one request more than were sent: where none was yet, the time so far is the least that one takes.
"""

from math import exp

WINDOW_S = 30.0


class DrainRate:
    __slots__ = ("_at_s", "_seconds", "_sent")

    def __init__(self) -> None:
        self._at_s: float | None = None  # None: nobody waits
        self._sent = 0.0
        self._seconds = 0.0

    def begins(self, now: float) -> None:
        """Somebody waits."""
        if self._at_s is None:
            self._at_s = now

    def pauses(self) -> None:
        """Nobody waits any more."""
        self._at_s = None

    def sent(self, now: float) -> None:
        self._pass(now)
        self._sent += 1

    def per_s(self, now: float) -> float:
        self._pass(now)
        return self._sent / self._seconds if self._seconds else 0.0

    def wait_s(self, ahead: int, now: float) -> float:
        """How long so many need to go."""
        self._pass(now)
        return ahead * self._seconds / (self._sent + 1)

    def _pass(self, now: float) -> None:
        if self._at_s is None:
            return
        kept = exp(min(0.0, self._at_s - now) / WINDOW_S)
        self._sent *= kept
        self._seconds = self._seconds * kept + WINDOW_S * (1 - kept)
        self._at_s = now
