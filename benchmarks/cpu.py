"""CPU time and memory of a process and all its descendants, from Linux's own accounting. Other systems have none.

Two accounts, proc(5): `stat` counts in clock ticks (10 ms) and keeps the time of threads and children that ended;
`schedstat` counts each live thread in nanoseconds. The second is used where the first confirms it: every thread
of the first reading still lives, and the two agree within `_AGREE` or a few ticks.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_AGREE = 0.03
_SLACK_TICKS = 3


@dataclass(frozen=True, slots=True)
class StatLine:
    """What is read of /proc/PID/stat. `ticks` are user and system time, ended and reaped children included."""

    parent: int
    ticks: int


@dataclass(frozen=True, slots=True)
class Reading:
    """`ticks` of the whole tree; `thread_ns` by thread id, empty where the kernel has no schedstat."""

    processes: frozenset[int]
    ticks: int
    thread_ns: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Spent:
    seconds: float
    source: str


def parse_stat(line: str) -> StatLine:
    """The command's name stands in parentheses and may hold anything, parentheses and blanks too."""
    fields = line.rpartition(")")[2].split()
    try:
        user, system, ended_user, ended_system = map(int, fields[11:15])
        return StatLine(parent=int(fields[1]), ticks=user + system + ended_user + ended_system)
    except ValueError as error:
        raise ValueError(f"stat: expected the fields of proc(5), got {line[:80]!r}") from error


def tree(root: int) -> list[int]:
    """`root` and its descendants that live now."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (stat := _read(entry / "stat")) is not None:
            children.setdefault(parse_stat(stat).parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def read(root: int) -> Reading:
    pids = tree(root)
    stats = [parse_stat(stat) for pid in pids if (stat := _read(_PROC / str(pid) / "stat")) is not None]
    return Reading(frozenset(pids), sum(stat.ticks for stat in stats), _thread_ns(pids))


def spent(before: Reading, after: Reading) -> Spent:
    """CPU seconds between two readings of one tree, and the account that they are from."""
    ticks = (after.ticks - before.ticks) / _TICKS_PER_S
    precise = (sum(after.thread_ns.values()) - sum(before.thread_ns.values())) / 1e9
    slack = max(_AGREE * ticks, _SLACK_TICKS * len(after.processes) / _TICKS_PER_S)
    threads_kept = before.thread_ns.keys() <= after.thread_ns.keys()
    if before.thread_ns and threads_kept and abs(precise - ticks) <= slack:
        return Spent(precise, "schedstat")
    return Spent(ticks, "stat")


def resident_bytes(root: int) -> int:
    """Resident memory of the tree. Pages that its processes share count for each of them."""
    pages = 0
    for pid in tree(root):
        statm = _read(_PROC / str(pid) / "statm")
        pages += int(statm.split()[1]) if statm else 0
    return pages * _PAGE_BYTES


def open_files(pid: int) -> int:
    """Descriptors of one process that it has open."""
    return sum(1 for _ in (_PROC / str(pid) / "fd").iterdir())


def _thread_ns(pids: Iterable[int]) -> dict[int, int]:
    times = {}
    for pid in pids:
        try:
            threads = list((_PROC / str(pid) / "task").iterdir())
        except OSError:
            continue
        for thread in threads:
            if schedstat := _read(thread / "schedstat"):
                times[int(thread.name)] = int(schedstat.split()[0])
    return times


def _read(path: Path) -> str | None:
    """None where the process ended meanwhile."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
