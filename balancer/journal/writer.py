"""Blocks to files, in a thread of its own: nobody ever waits for a disk.

What cannot be written in time, or not at all, is lost and counted; the scribe begins anew then. A file that is full is renamed to
PATH.1, that one to PATH.2, and so on; no more than `keep` are kept.
"""

import contextlib
import errno
import logging
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from balancer.journal.frames import MAGIC, pack

log = logging.getLogger("balancer.journal")

MOST_PENDING = 200_000
"""Events that wait for the disk: some 100 MB."""
CLOSE_S = 5.0

Block = tuple[list[Sequence[Any]], bool, int]


class JournalFile:
    """`written_bytes` and `lost_events` only grow."""

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        """`keep`: files, beside the one that is written.

        Raises: OSError, if nothing can be written there.
        """
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._blocks: SimpleQueue[Block | None] = SimpleQueue()
        self._given = self._taken = 0  # events, by who hands over and by the thread
        self._beginning = 0  # counts them; blocks go on from the one before, back to a beginning
        self._sound = True  # what was handed over last was not lost, as far as is known
        self._torn = False  # what comes, but for a beginning, goes on from what was lost
        self._filled = (0, 0)  # which beginning, and the bytes of its file
        self._size = 0
        self._descriptor: int | None = None
        self.written_bytes = 0
        self.lost_events = 0
        self._open()
        self._thread = Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def full(self) -> bool:
        beginning, size = self._filled
        return beginning == self._beginning and size >= self._max_bytes

    def take(self, events: list[Sequence[Any]], *, begins: bool) -> bool:
        if self._given - self._taken > MOST_PENDING or not (self._sound or begins):
            self.lost_events += len(events)
            return False
        if begins:
            self._beginning += 1
            self._sound = True
        self._given += len(events)
        self._blocks.put((events, begins, self._beginning))
        return True

    def close(self) -> None:
        """Write what was taken, and end."""
        self._blocks.put(None)
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            events, begins, beginning = block
            try:
                self._write(pack(events), begins=begins)
                self._filled = beginning, self._size
            except OSError as error:
                self._lose(error, len(events))
            self._taken += len(events)
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _write(self, frame: bytes, *, begins: bool) -> None:
        if begins:
            if self._descriptor is None or self._size >= self._max_bytes:
                self._open()
        elif self._torn:
            raise OSError(errno.EIO, "what it goes on from was lost")
        assert self._descriptor is not None
        if os.write(self._descriptor, frame) < len(frame):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += len(frame)
        self.written_bytes += len(frame)
        if self._torn:
            self._torn = False
            log.warning("the journal %s is written again", self._path)

    def _lose(self, error: OSError, count: int) -> None:
        self.lost_events += count
        self._sound = False
        if not self._torn:
            self._torn = True
            log.error("the journal %s cannot be written: %s", self._path, error.strerror)
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # a part of a frame, perhaps
                os.ftruncate(self._descriptor, self._size)
                os.lseek(self._descriptor, self._size, os.SEEK_SET)

    def _open(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._path.exists() and self._path.stat().st_size:
            self._rotate()
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._size = os.write(self._descriptor, MAGIC)

    def _rotate(self) -> None:
        names = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, self._keep + 1))]
        for kept, to in reversed(list(pairwise(names))):
            if kept.exists():
                kept.replace(to)
