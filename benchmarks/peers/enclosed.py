"""Programs in a network of their own, of which one port is let out to the loopback. Needs Linux and unshare(1).

For programs that listen on every address whatever they are told. Each byte is copied once more, which is in their figures.
`python -m benchmarks.peers.enclosed PORT INNER_PORT FILE`; the file has one command a line, as JSON.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import UnavailableError

_UNSHARE = ("unshare", "--map-root-user", "--net")
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1  # netdevice(7)
_READ_BYTES = 1 << 16


def require() -> None:
    """Raises: UnavailableError, where no network of one's own can be had."""
    try:
        subprocess.run((*_UNSHARE, "true"), check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        raise UnavailableError(f"listens on every address, and can't be enclosed here: {error}") from error


def enclosing(port: int, inner_port: int, commands: Sequence[Sequence[str]], file: Path) -> list[str]:
    """The command that runs all of them; `file` is written for it."""
    file.write_text("".join(json.dumps(command) + "\n" for command in commands), encoding="utf-8")
    return [sys.executable, "-m", __name__, str(port), str(inner_port), str(file)]


def main(arguments: Sequence[str]) -> None:
    port, inner_port, file, *inside = arguments
    if not inside:
        listener = socket.create_server(("127.0.0.1", int(port)), backlog=4096)
        os.set_inheritable(listener.fileno(), True)
        again = (sys.executable, "-m", "benchmarks.peers.enclosed", *arguments, str(listener.fileno()))
        os.execvp(_UNSHARE[0], (*_UNSHARE, *again))  # noqa: S606 - a fixed program, without a shell
    _raise_loopback()
    listener = socket.socket(fileno=int(inside[0]))
    commands = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    sys.exit(asyncio.run(_serve(listener, int(inner_port), commands)))


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))


async def _serve(listener: socket.socket, inner_port: int, commands: Sequence[Sequence[str]]) -> int:
    """Until SIGTERM, or one of the programs ends, which is a failure."""
    programs = [await asyncio.create_subprocess_exec(*command) for command in commands]
    over = asyncio.Event()
    failed: list[int] = []

    async def watch(program: asyncio.subprocess.Process) -> None:
        code = await program.wait()
        if not over.is_set():
            failed.append(code)
        over.set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", inner_port)
            await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    server = await asyncio.start_server(accept, sock=listener)
    async with asyncio.TaskGroup() as group:
        for program in programs:
            group.create_task(watch(program))
        await over.wait()
        server.close()
        for program in programs:
            if program.returncode is None:
                program.terminate()
    return 1 if failed else 0


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer):
        while data := await reader.read(_READ_BYTES):
            writer.write(data)
            await writer.drain()


if __name__ == "__main__":
    main(sys.argv[1:])
