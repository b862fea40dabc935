"""How attempts end, and why those who wait for them are woken."""

from enum import Enum, StrEnum


class Ended(StrEnum):
    """How an attempt ended."""

    ANSWERED = "answered"
    STALE = "stale"  # a reused connection was closed under the request: nobody's fault
    REFUSED = "refused"  # no connection to the replica
    CONNECT_TIMEOUT = "connect_timeout"
    BROKEN = "broken"  # the connection ended before the answer did
    GARBLED = "garbled"  # not HTTP
    SLOW_FIRST_BYTE = "slow_first_byte"
    SLOW_FIRST_TOKEN = "slow_first_token"  # noqa: S105 - no secret
    SLOW_IDLE = "slow_idle"
    FAILED = "failed"  # a stream told of a dead engine, or was given up by it
    LOST = "lost"  # the replica fell silent, and was given up
    CANCELLED = "cancelled"  # the client has gone


class Signal(Enum):
    """Why the handler was woken."""

    CONGESTED = "congested"
    ENDED = "ended"
