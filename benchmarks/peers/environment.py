"""Environments of their own for peers from a package index, and programs that the system has."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.peers.peer import Tools, UnavailableError
from benchmarks.peers.pins import Pin

DEFAULT_PEER_DIR = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vllm-balancer" / "peers"
)

PeerDir = Annotated[Path, typer.Option(envvar="BENCH_PEER_DIR", help="Where peers are installed.")]
"""An option of every command that starts peers."""

_INSTALL_WITHIN_S = 1200
_NEWEST_MINOR = 14
_SYSTEM_FOLDERS = "/usr/sbin:/usr/local/sbin"


def installed(tools: Tools, pin: Pin) -> Path:
    """The folder of the environment's programs. It holds what is pinned, and is made where it does not exist."""
    home = tools.peer_dir / pin.name
    stamp = home / "requirements.txt"
    wanted = "\n".join(pin.requirements) + "\n"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return home / "bin"
    if not tools.install:
        raise UnavailableError(
            f"{pin.requirements[0]} is not installed; `benchmarks peers --install` does it"
        )
    _run(pin, str(_interpreter(pin.python)), "-m", "venv", "--clear", str(home))
    pip = (str(home / "bin" / "python"), "-m", "pip", "install", "--quiet")
    _run(pin, *pip, *(("--no-deps",) if pin.complete else ()), *pin.requirements)
    stamp.write_text(wanted, encoding="utf-8")
    return home / "bin"


def system_program(name: str) -> Path:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_FOLDERS}")
    if found is None:
        raise UnavailableError(f"no {name} on this machine")
    return Path(found)


def told_version(command: tuple[str, ...], pattern: str) -> str | None:
    """What a program says of its version, on either stream."""
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(pattern, told.stdout + told.stderr)
    return found[1] if found else None


def package_version(python: Path, package: str) -> str | None:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return told_version((str(python), "-c", code), r"^(\d\S*)\s*$")


def _run(pin: Pin, *command: str) -> None:
    what = pin.requirements[0]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=_INSTALL_WITHIN_S)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout or "").strip().splitlines()[-1:]
        raise UnavailableError(f"{what} cannot be installed: {' '.join(last)}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{what} cannot be installed: {error}") from error


def _interpreter(least: tuple[int, int]) -> Path:
    """This interpreter, if it is new enough, else one that is on the path and runs."""
    if sys.version_info[:2] >= least:
        return Path(sys.executable)
    for minor in range(least[1], _NEWEST_MINOR + 1):
        name = f"python{least[0]}.{minor}"
        if told_version((name, "--version"), r"Python (\S+)"):
            return Path(name)
    raise UnavailableError(f"needs Python {least[0]}.{least[1]} or newer, and there is none on the path")
