"""Starting and ending the processes of a benchmark, on the cores they belong to. Every one is ended by its pid."""

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cpu

_STOP_WITHIN_S = 10.0


class NotServingError(Exception):
    """A process ended, or never answered, and cannot be measured."""


@dataclass(frozen=True, slots=True)
class Cores:
    """The subject has a core of its own where there are two or more."""

    subject: frozenset[int]
    others: frozenset[int]

    @property
    def shared(self) -> bool:
        return self.subject == self.others


def all_cores() -> frozenset[int]:
    """Those that this process may use."""
    return frozenset(os.sched_getaffinity(0))


def split_cores(available: frozenset[int]) -> Cores:
    first = frozenset({min(available)})
    return Cores(first, available - first or first)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def raise_open_files() -> int:
    """Lift the soft limit of open files to the hard one, here and in every child; returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextlib.contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """What this thread starts inside the block inherits `cores`."""
    kept = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, kept)


class Child:
    """A process whose output goes to a file, so that it can tell why it failed."""

    def __init__(self, popen: "subprocess.Popen[bytes]", log: Path) -> None:
        self._popen = popen
        self._log = log

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def expect_running(self, when: str) -> None:
        if not self.running:
            raise NotServingError(f"ended {when}: {self.last_words() or 'no output'}")

    def last_words(self, lines: int = 3) -> str:
        text = self._log.read_text(encoding="utf-8", errors="replace").strip()
        return " / ".join(text.splitlines()[-lines:])

    def send(self, number: signal.Signals) -> None:
        if self.running:
            os.kill(self.pid, number)

    def stop(self) -> None:
        """SIGTERM; after a while SIGKILL, also to descendants that outlived it."""
        family = cpu.tree(self.pid)
        if self.running:
            self._popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(_STOP_WITHIN_S)
        for pid in family[1:] if not self.running else family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._popen.wait()


@contextlib.contextmanager
def started(command: Sequence[str], *, cores: frozenset[int], log: Path) -> Iterator[Child]:
    """The command as a running child, ended when the block is left."""
    try:
        with log.open("wb") as output, pinned(cores):
            popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
    except OSError as error:
        raise NotServingError(f"{command[0]}: {error.strerror}") from error
    child = Child(popen, log)
    try:
        yield child
    finally:
        child.stop()


def wait_until(
    child: Child,
    reached: Callable[[], bool],
    state: str,
    within_s: float,
    *,
    every_s: float = 0.1,
) -> None:
    """Until it is so, asked again and again, or the child ended: another process tells of neither by itself."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        child.expect_running(f"before it {state}")
        if reached():
            return
        time.sleep(every_s)  # nothing to wait on: the port or the log of another process is looked at again
    raise NotServingError(f"never {state} within {within_s:g} s: {child.last_words()}")


def wait_listening(child: Child, port: int, within_s: float = 30.0) -> None:
    """Until something accepts connections on the port, or the child ended."""

    def accepts() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    wait_until(child, accepts, "listened", within_s, every_s=0.02)


def wait_serving(child: Child, port: int, within_s: float = 180.0) -> None:
    """Until models are listed on the port: a router that listens may not know its replicas yet."""

    def lists() -> bool:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            return _lists_models(port)
        return False

    wait_until(child, lists, "served", within_s)


def _lists_models(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/v1/models")
        answer = connection.getresponse()
        listed = json.loads(answer.read())
        return answer.status == 200 and bool(listed.get("data"))
    finally:
        connection.close()
