"""A journal file: a line that says what it is, then frames, each with events, whole or not at all.

    frame = length, CRC-32 (little-endian, 8 bytes), then that many bytes: an array of events in MessagePack, compressed by zlib

A process that is killed leaves a torn frame at the end, at most. What is read stops before it, and says so.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO

import msgspec

MAGIC = b"vllm-balancer journal 1\n"
LEVEL = 1
MOST_BYTES = 16 * 1024 * 1024
"""Of a frame, written out. No writer comes near it."""

_HEAD = Struct("<II")

Event = list[Any]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Event]).decode


def pack(events: Sequence[Sequence[Any]]) -> bytes:
    """A frame."""
    packed = zlib.compress(_encode(events), LEVEL)
    return _HEAD.pack(len(packed), zlib.crc32(packed)) + packed


@dataclass(slots=True)
class Read:
    """How far a file could be read: `whole` bytes of `size`, and what is wrong with the next."""

    whole: int = 0
    size: int = 0
    trouble: str = ""


def read_file(path: Path, read: Read) -> Iterator[list[Event]]:
    """Frame by frame. Never raises for what a file holds: `read` tells how far it could be read.

    Raises: OSError.
    """
    with path.open("rb") as file:
        read.size = path.stat().st_size
        begun = file.read(len(MAGIC))
        if begun != MAGIC:
            read.trouble = "torn" if MAGIC.startswith(begun) else "not a journal of this version"
            return
        read.whole = len(MAGIC)
        while True:
            events = _frame(file, read)
            if events is None:
                return
            yield events


def _frame(file: BinaryIO, read: Read) -> list[Event] | None:
    head = file.read(_HEAD.size)
    if not head:
        return None
    if len(head) < _HEAD.size:
        read.trouble = "torn"
        return None
    length, checksum = _HEAD.unpack(head)
    if length > MOST_BYTES:
        read.trouble = "damaged"
        return None
    packed = file.read(length)
    if len(packed) < length:
        read.trouble = "torn"
        return None
    events = None if zlib.crc32(packed) != checksum else _events(packed)
    if events is None:
        read.trouble = "damaged"
        return None
    read.whole = file.tell()
    return events


def _events(packed: bytes) -> list[Event] | None:
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(packed, MOST_BYTES)
        if not unpacker.eof:
            return None
        return _decode(raw)
    except (zlib.error, msgspec.MsgspecError, RecursionError):
        return None
