"""A recording as text, and errors that say where in it they are."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

_GZIP = b"\x1f\x8b"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not empty, with its number from 1."""

    file: str
    number: int
    text: str

    def wrong(self, expected: str) -> ValueError:
        return ValueError(f"{self.file}, line {self.number}: {expected}")

    def decode(self, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(self.text, type=kind)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise self.wrong(str(error)) from None


def read_text(path: Path) -> str:
    try:
        return unpack(path.name, path.read_bytes())
    except OSError as error:
        raise ValueError(f"--workload: cannot read {path}: {error.strerror}") from None


def unpack(name: str, data: bytes) -> str:
    try:
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error):
        raise ValueError(f"{name}: expected a whole gzip file") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: expected UTF-8, got something else at byte {error.start}") from None


def lines(name: str, text: str) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield Line(name, number, line.strip())
