"""External providers that tiers name: whom to ask, with which key, and what they let us take."""

from typing import NamedTuple

from balancer.core.types import ReplicaId


class Provider(NamedTuple):
    """`name` is its tier's. `authorization` is the value of the header."""

    name: ReplicaId
    url: str
    model: str
    authorization: bytes | None = None
    max_in_flight: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_attempts: int = 2
    first_token_timeout_s: float | None = None
