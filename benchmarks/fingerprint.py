"""What a result was measured on: the machine, the interpreter and the versions that decide the figures."""

import datetime as dt
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import balancer

_PACKAGES = ("aiohttp", "httptools", "uvloop")


def fingerprint() -> dict[str, str | float | None]:
    """Missing facts are None."""
    return {
        "taken_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "cpu": _first_value("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _first_value("/proc/meminfo", "MemTotal"),
        "load_1m": round(os.getloadavg()[0], 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "balancer": balancer.__version__,
        "commit": _commit(),
        **{package: _version(package) for package in _PACKAGES},
    }


def one_line(facts: Mapping[str, str | float | None]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)


def _first_value(path: str, key: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the source tree, with "+changes" where it was changed; None outside one."""
    here = Path(__file__).resolve().parent
    try:
        described = subprocess.run(
            ("git", "describe", "--always", "--dirty=+changes"),
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
