"""What a provider lets one take, as far as we were told of it: requests and tokens a minute, and the pauses that it asks for.

    a request may go while   requests left >= 1  and  tokens left > 0  and  now >= paused until

Both buckets hold one minute and fill evenly (token buckets). Tokens are taken by what is expected and put right by the usage of
the answer, so the bucket may be overdrawn: then it fills from below zero. A pause is what the provider's own 429 asked for, by
its Retry-After, or else PAUSE_S, doubled each time in a row.
"""

MINUTE_S = 60.0
PAUSE_S = 0.5
MOST_PAUSE_S = 60.0


class Bucket:
    """Holds `per_minute`, and is full at first."""

    __slots__ = ("_at_s", "_left", "per_minute")

    def __init__(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self._left = per_minute
        self._at_s = float("-inf")

    def left(self, now: float) -> float:
        filled = self._left + max(0.0, now - self._at_s) * self.per_minute / MINUTE_S
        self._left = min(self.per_minute, filled)
        self._at_s = max(self._at_s, now)
        return self._left

    def take(self, amount: float, now: float) -> None:
        """More than is left may be taken; a negative amount is given back."""
        self._left = min(self.per_minute, self.left(now) - amount)

    def wait_s(self, amount: float, now: float) -> float:
        """Until so much is there; never longer than until it is full."""
        lacking = min(amount, self.per_minute) - self.left(now)
        return max(0.0, lacking * MINUTE_S / self.per_minute)


class Quota:
    """None: no such limit is known."""

    def __init__(
        self, requests_per_minute: float | None = None, tokens_per_minute: float | None = None
    ) -> None:
        self._requests = None if requests_per_minute is None else Bucket(requests_per_minute)
        self._tokens = None if tokens_per_minute is None else Bucket(tokens_per_minute)
        self._paused_until_s = float("-inf")
        self._pauses = 0

    def __repr__(self) -> str:
        return "<Quota of {} requests and {} tokens a minute>".format(*self.limits)

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """Requests and tokens a minute."""
        requests, tokens = self._requests, self._tokens
        return (
            None if requests is None else requests.per_minute,
            None if tokens is None else tokens.per_minute,
        )

    def limit(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        """Other limits hold; what was taken of those that stay is kept in mind."""
        self._requests = _limited(self._requests, requests_per_minute)
        self._tokens = _limited(self._tokens, tokens_per_minute)

    def wait_s(self, now: float) -> float:
        """Seconds until a request may go; 0: it may now."""
        waits = [self._paused_until_s - now]
        if self._requests is not None:
            waits.append(self._requests.wait_s(1, now))
        if self._tokens is not None:
            waits.append(self._tokens.wait_s(1, now))
        return max(0.0, *waits)

    def take(self, tokens: float, now: float) -> None:
        """A request goes that is expected to need so many."""
        if self._requests is not None:
            self._requests.take(1, now)
        if self._tokens is not None:
            self._tokens.take(tokens, now)

    def settle(self, expected: float, used: float, now: float) -> None:
        """It has ended, and needed so many."""
        if self._tokens is not None:
            self._tokens.take(used - expected, now)

    def pause(self, now: float, retry_after_s: float | None) -> None:
        """The provider refused, and perhaps said for how long."""
        asked_s = PAUSE_S * 2.0 ** min(self._pauses, 10) if retry_after_s is None else retry_after_s
        self._pauses += 1
        self._paused_until_s = max(self._paused_until_s, now + min(asked_s, MOST_PAUSE_S))

    def answered(self) -> None:
        """It took a request: the next pause is a first one."""
        self._pauses = 0


def _limited(bucket: Bucket | None, per_minute: float | None) -> Bucket | None:
    if per_minute is None or bucket is None or bucket.per_minute != per_minute:
        return None if per_minute is None else Bucket(per_minute)
    return bucket
