"""The client's side of an exchange, as far as relaying needs it: somewhere to write bytes to."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from balancer.forwarding.headers import RawHeaders

HIGH_WATER_BYTES = 64 * 1024
"""Above so many unsent bytes the replica is not read until the client has caught up."""


@dataclass(slots=True, eq=False)
class ClientSide:
    """`drain` waits until the client has taken what was written, and raises ConnectionError when it has gone."""

    transport: asyncio.Transport
    drain: Callable[[], Awaitable[None]]
    http11: bool
    keep_alive: bool


@dataclass(slots=True, eq=False)
class Outgoing:
    """The request as it is sent to a replica, whichever that will be."""

    method: bytes
    target: bytes
    headers: RawHeaders
    body: bytes
    drop: frozenset[bytes] = frozenset()
