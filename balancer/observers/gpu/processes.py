"""Which process stands behind a port, as /proc tells on Linux.

vLLM's API server listens, and its engine and workers, which hold the GPU's memory, descend from it; so a port belongs to whoever
has its socket open, and to all that descend from them. Not to process 1, which may hold sockets for others, and from which all
descend. Sockets are those of this network namespace, and pids those of this pid namespace: of a container with others nothing is
found here (docker-proxy listens in its place), and the configuration must name its GPUs.

Formats: proc_pid_stat(5), proc_pid_net(5) (tcp: local address in hexadecimal, state 0A is LISTEN, the tenth field the inode).
"""

import contextlib
from functools import cached_property
from pathlib import Path

_LISTEN = "0A"
MAX_DEPTH = 64


class Listeners:
    """One look at /proc, taken when first asked. What is unreadable is not there."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._own: dict[int, set[int]] = {}

    def ports(self, pid: int) -> tuple[int, ...]:
        """Those on which the process or one that it descends from listens."""
        found: set[int] = set()
        for _ in range(MAX_DEPTH):
            if pid <= 1 or not self._sockets:
                break
            if pid not in self._own:
                self._own[pid] = self._listens(pid)
            found |= self._own[pid]
            pid = self._parent(pid)
        return tuple(sorted(found))

    def _listens(self, pid: int) -> set[int]:
        found: set[int] = set()
        try:
            descriptors = list((self._proc / str(pid) / "fd").iterdir())
        except OSError:  # it has ended, or is somebody else's
            return found
        for descriptor in descriptors:
            with contextlib.suppress(OSError):  # closed meanwhile
                port = self._sockets.get(str(descriptor.readlink()))
                if port is not None:
                    found.add(port)
        return found

    @cached_property
    def _sockets(self) -> dict[str, int]:
        """Ports by what a descriptor of a listening socket leads to."""
        found: dict[str, int] = {}
        for name in ("tcp", "tcp6"):
            try:
                lines = (self._proc / "self/net" / name).read_text().splitlines()[1:]
            except OSError:
                continue
            for line in lines:
                fields = line.split()
                if len(fields) > 9 and fields[3] == _LISTEN:
                    found[f"socket:[{fields[9]}]"] = int(fields[1].rpartition(":")[2], 16)
        return found

    def _parent(self, pid: int) -> int:
        try:
            # the name, in parentheses, may hold anything
            return int((self._proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return 0
