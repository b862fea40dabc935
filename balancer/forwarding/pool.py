"""Keep-alive connections to one replica.

Idle ones live shorter than the 5 s after which uvicorn closes its side, and the newest is used first, so that
the rest can age out. There is no upper limit: what may be in flight is decided before, not by a queue here.
"""

import asyncio
import contextlib
import ssl
from collections import deque
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urlsplit

from balancer.forwarding.client import Outgoing
from balancer.forwarding.connection import Connection
from balancer.forwarding.headers import FOR_STRANGERS, request_head


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """Seconds; None switches a limit off."""

    connect_timeout_s: float = 5.0
    keepalive_s: float = 4.0
    first_byte_timeout_s: float | None = None
    idle_timeout_s: float | None = None


_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_VERSION = b"/v1"


class ConnectionPool:
    """`authorization` is sent in the place of the client's own; without one, a replica gets the client's, a provider none."""

    def __init__(
        self,
        url: str,
        limits: UpstreamLimits,
        loop: asyncio.AbstractEventLoop,
        *,
        external: bool = False,
        authorization: bytes | None = None,
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        host = parts.netloc.rpartition("@")[2].removesuffix(_DEFAULT_PORTS[parts.scheme])
        self.host_header = host.encode("ascii")
        self.authorization = authorization
        self._external = external
        self._path = parts.path.rstrip("/").encode("ascii")
        self._host = parts.hostname
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self.limits = limits
        self._loop = loop
        self._idle: deque[Connection] = deque()
        self._closed = False

    def __repr__(self) -> str:
        return f"<ConnectionPool {self._host}:{self._port}, {len(self._idle)} idle>"

    def head(self, request: Outgoing) -> bytes:
        """The head of the request as it is sent there."""
        body = request.body
        return request_head(
            request.method,
            self.target(request.target) if self._path else request.target,
            self.host_header,
            request.headers,
            len(body) if body or request.method == b"POST" else None,
            authorization=self.authorization,
            drop=request.drop,
            only=FOR_STRANGERS if self._external else None,
        )

    def target(self, target: bytes) -> bytes:
        """The target there of one here. A provider's path is a base as OpenAI's clients know it, in the place of `/v1`; that of a
        replica stands before all of it.
        """
        path = self._path
        if not (path and self._external):
            return path + target
        if target.startswith(b"/v1/"):
            return path + target[len(_VERSION) :]
        return path.removesuffix(_VERSION) + target

    def take(self) -> Connection | None:
        """An idle connection, or None."""
        oldest_allowed = self._loop.time() - self.limits.keepalive_s
        while self._idle:
            connection = self._idle.pop()
            if connection.closed or connection.transport.is_closing():
                continue
            if connection.idle_since >= oldest_allowed:
                return connection
            connection.abort()
        return None

    async def connect(self) -> Connection:
        """A fresh connection.

        Raises: TimeoutError; OSError when refused, unreachable or unknown.
        """
        begun_at = monotonic()
        async with asyncio.timeout(self.limits.connect_timeout_s):
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._loop, self._on_idle), self._host, self._port, ssl=self._tls
            )
        connection.connected_s = monotonic() - begun_at
        connection.first_byte_timeout_s = self.limits.first_byte_timeout_s
        connection.idle_timeout_s = self.limits.idle_timeout_s
        return connection

    def sweep(self) -> None:
        """Close what has been idle for too long."""
        oldest_allowed = self._loop.time() - self.limits.keepalive_s
        while self._idle and (self._idle[0].closed or self._idle[0].idle_since < oldest_allowed):
            self._idle.popleft().abort()

    def close(self) -> None:
        """Close the idle connections; those in use close when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()

    def _on_idle(self, connection: Connection) -> None:
        if connection.closed:
            with contextlib.suppress(ValueError):
                self._idle.remove(connection)
        elif self._closed:
            connection.abort()
        else:
            self._idle.append(connection)
