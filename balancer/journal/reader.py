"""A journal as it is read: the files of one path, oldest first, as one row of events.

Rotated files are called PATH.1, PATH.2 and so on, the oldest by the highest number. A process begins its journal with file 0;
where that is gone, or something between, what was before is not known, and the row says so.
"""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from balancer.journal import kinds
from balancer.journal.frames import Event, Read, read_file


@dataclass(slots=True)
class Reading:
    """What was found: files and bytes read, and notes for people on what could not be."""

    files: int = 0
    bytes: int = 0
    notes: list[str] = field(default_factory=list)


def files_of(path: Path) -> list[Path]:
    """Oldest first."""
    found = [(0, path)] if path.exists() else []
    for other in path.parent.glob(f"{path.name}.*"):
        number = other.name.removeprefix(f"{path.name}.")
        if number.isdecimal():
            found.append((int(number), other))
    return [each for _, each in sorted(found, reverse=True)]


def read_journal(path: Path, reading: Reading) -> Iterator[Event]:
    """Every event, in order. BEGIN carries in `follows` whether nothing is missing between it and what came before.

    Raises: OSError, if a file can't be read, or there is none.
    """
    paths = files_of(path)
    if not paths:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    last: tuple[Any, Any] | None = None
    for each in paths:
        read = Read()
        for events in read_file(each, read):
            for event in events:
                if event and event[0] == kinds.BEGIN and len(event) == 2 and isinstance(event[1], dict):
                    facts = event[1]
                    run, number = facts.get("run"), facts.get("file")
                    facts["follows"] = last is not None and (run, number) == (last[0], last[1] + 1)
                    facts["lost"] = facts.get("lost", 0)
                    last = run, number if isinstance(number, int) else -1
                yield event
        reading.files += 1
        reading.bytes += read.whole
        if read.trouble:
            left = read.size - read.whole
            reading.notes.append(f"{each}: {read.trouble} after {read.whole} bytes; {left} are left out")
            last = None if read.trouble == "damaged" else last
