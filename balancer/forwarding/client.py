"""The client's side of an exchange, as far as relaying needs it: somewhere to write bytes to."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from balancer.forwarding.headers import RawHeaders

HIGH_WATER_BYTES = 64 * 1024
"""Above so many unsent bytes the replica is not read until the client has caught up."""


class ClientStalled(Exception):
    """The client is there and takes nothing."""


@dataclass(slots=True, eq=False)
class ClientSide:
    """`drain` waits until the client has taken what was written, and raises ConnectionError when it has gone."""

    transport: asyncio.Transport
    drain: Callable[[], Awaitable[None]]
    http11: bool
    keep_alive: bool

    async def catch_up(self, stall_timeout_s: float | None) -> None:
        """Wait for the client, for as long as it goes on reading at all.

        Raises: ConnectionError, if it has gone; ClientStalled.
        """
        unsent_bytes = self.transport.get_write_buffer_size()
        while True:
            try:
                async with asyncio.timeout(stall_timeout_s):
                    await self.drain()
                    return
            except TimeoutError:
                before, unsent_bytes = unsent_bytes, self.transport.get_write_buffer_size()
                if unsent_bytes >= before:
                    raise ClientStalled from None


@dataclass(slots=True, eq=False)
class Outgoing:
    """The request as it is sent to a replica, whichever that will be."""

    method: bytes
    target: bytes
    headers: RawHeaders
    body: bytes
    drop: frozenset[bytes] = frozenset()
