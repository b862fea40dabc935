"""What the service manager that started us is told: sd_notify(3), the protocol of `Type=notify` units.

Datagrams of `NAME=value` lines to the socket that NOTIFY_SOCKET names, abstract if it begins with @. Without that variable
nothing is sent. Nothing here fails: a manager that does not listen must not stop who serves.
"""

import logging
import socket
from collections.abc import Mapping
from time import monotonic_ns

log = logging.getLogger("balancer")

NOTIFY_SOCKET, WATCHDOG_USEC = "NOTIFY_SOCKET", "WATCHDOG_USEC"


class ServiceManager:
    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get(NOTIFY_SOCKET, "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        micros = environ.get(WATCHDOG_USEC, "")
        self.watchdog_s = int(micros) / 1e6 if address and micros.isdigit() and int(micros) else None
        """How long it waits for a sign of life before it kills; None: it does not watch."""

    def ready(self, status: str) -> None:
        """It serves: for the first time, or again after `reloading`."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        self._tell("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        self._tell("STOPPING=1", f"STATUS={status}")

    async def alive(self) -> float:
        """The event loop turns. For the supervisor to repeat, while the manager watches."""
        self._tell("WATCHDOG=1")
        return (self.watchdog_s or 0.0) / 3

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)
                channel.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning("the service manager cannot be told %s: %s", lines[0], error)
