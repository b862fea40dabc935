"""A fleet-wide budget for second attempts, so that overload is never amplified (Finagle's and Envoy's retry budgets).

    a retry is allowed while   retries < FLOOR + share * requests,   both over the last WINDOW_S or so

It is for retries of what a replica was too busy or too slow to answer. A replica that died did not do the work, and
what it had is taken over whatever the budget says: that is bounded by the requests that it had.
"""

from math import exp

WINDOW_S = 10.0
FLOOR = 10.0


class RetryBudget:
    def __init__(self, share: float) -> None:
        self.share = share
        self._requests = 0.0
        self._retries = 0.0
        self._at_s = 0.0

    def __repr__(self) -> str:
        return f"<RetryBudget {self._retries:.0f} of {FLOOR + self.share * self._requests:.0f}>"

    def requested(self, now: float) -> None:
        self._fade(now)
        self._requests += 1

    def take(self, now: float) -> bool:
        """Whether one more retry is allowed; if so, it is counted."""
        self._fade(now)
        if self._retries >= FLOOR + self.share * self._requests:
            return False
        self._retries += 1
        return True

    def _fade(self, now: float) -> None:
        kept = exp((self._at_s - now) / WINDOW_S) if now > self._at_s else 1.0
        self._at_s = max(now, self._at_s)
        self._requests *= kept
        self._retries *= kept
