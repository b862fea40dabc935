"""The client's side of an exchange, as far as relaying needs it: somewhere to write bytes to."""

import asyncio
import contextlib
import fcntl
import sys
import termios
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from balancer.forwarding.headers import RawHeaders

HIGH_WATER_BYTES = 64 * 1024
"""Above so many unsent bytes the replica is not read until the client has caught up."""


class ClientStalled(Exception):
    """The client is there and takes nothing."""


@dataclass(slots=True, eq=False)
class ClientSide:
    """`drain` waits until the client has taken what was written, and raises ConnectionError when it has gone. `request_id` is
    told with an answer that names none.
    """

    transport: asyncio.Transport
    drain: Callable[[], Awaitable[None]]
    http11: bool
    keep_alive: bool
    request_id: bytes = b""

    async def catch_up(self, stall_timeout_s: float | None) -> None:
        """Wait for the client, for as long as it goes on reading at all.

        Raises: ConnectionError, if it has gone; ClientStalled, when it was let go.
        """
        if stall_timeout_s is None:
            await self.drain()
            return
        watch = _StallWatch(self, stall_timeout_s)
        try:
            await self.drain()
        except (ConnectionError, asyncio.CancelledError):
            if watch.stalled:  # it is we who closed the connection
                raise ClientStalled from None
            raise
        finally:
            watch.stop()

    def unsent_bytes(self) -> int:
        """What the client has not taken, the kernel's share included: its buffers are larger than ours."""
        in_kernel = 0
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError, ValueError):
                in_kernel = int.from_bytes(
                    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder
                )
        return self.transport.get_write_buffer_size() + in_kernel


class _StallWatch:
    """Closes the connection of a client that took nothing for so long."""

    def __init__(self, client: ClientSide, timeout_s: float) -> None:
        self.stalled = False
        self._client = client
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._unsent_bytes = client.unsent_bytes()
        self._timer = self._loop.call_later(timeout_s, self._look)

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        before, self._unsent_bytes = self._unsent_bytes, self._client.unsent_bytes()
        if self._unsent_bytes >= before:
            self.stalled = True
            self._client.transport.abort()
        else:
            self._timer = self._loop.call_later(self._timeout_s, self._look)


@dataclass(slots=True, eq=False)
class Outgoing:
    """The request as it is sent to a replica, whichever that will be."""

    method: bytes
    target: bytes
    headers: RawHeaders
    body: bytes
    drop: frozenset[bytes] = frozenset()
