"""A trained router as a file: the arrays of a `Learned` classifier and what is to be known of them, in one .npz.

Written whole or not at all. A file of another format, or of features that hash otherwise, is refused by name.
"""

import io
import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.learned import Learned, WrongArrays
from balancer.core.tiering.score.features import VERSION as FEATURES
from balancer.core.tiering.types import Classifier
from balancer.learning.calibrate import Promise, Step, promise

FORMAT: Final = 1
MOST_BYTES: Final = 1 << 30
_METADATA: Final = "metadata"

Arrays = dict[str, NDArray[Any]]


class WrongFile(Exception):
    """Why a file can't be used as a router."""


class Source(msgspec.Struct, frozen=True):
    file: str
    sha256: str
    rows: int


class Vectors(msgspec.Struct, frozen=True):
    """Where a router's vectors come from: `endpoint` (an OpenAI-compatible /v1/embeddings) or `encoder` (ONNX)."""

    source: str
    model: str
    size: int


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """`enabled` is False where the evaluation said that the pair can't be routed, `refusal` says why, also of a forced file.
    `evaluation` is for readers. `usd` is the price per request of each model, where it was given.
    """

    format: int
    features: int
    router: str
    head: str
    models: list[str]
    date: str
    seed: int
    rows: int
    data: list[Source]
    split: str
    evaluation: dict[str, Any]
    calibration: list[Step]
    enabled: bool
    refusal: str = ""
    forced: bool = False
    least_seen: float = 0.0
    usd: dict[str, float] = {}
    vectors: Vectors | None = None
    prior: bool = False
    notes: list[str] = []


class Stored(msgspec.Struct, frozen=True):
    metadata: Metadata
    arrays: Arrays

    def classifier(self, prior: Classifier | None = None, *, disabled: bool = False) -> Learned:
        """What serves. `prior` is the bundled one, for routers that build on it.

        Raises: WrongFile, for a router that its own evaluation refused, unless `disabled` ones are asked for.
        """
        meta = self.metadata
        if not meta.enabled and not disabled:
            raise WrongFile(f"not enabled when it was trained: {meta.refusal}")
        try:
            return Learned.read(meta.head, meta.models, self.arrays, prior, meta.least_seen)
        except WrongArrays as error:
            raise WrongFile(str(error)) from None

    def promise(self, floor: float) -> Promise:
        """The least share of strong calls that keeps this part of the strong model's quality, by the rows of its training."""
        return promise(self.metadata.calibration, floor, self.metadata.rows)


def save(path: Path, metadata: Metadata, arrays: Arrays) -> None:
    """Raises: OSError."""
    encoded = np.frombuffer(msgspec.json.encode(metadata), dtype=np.uint8)
    members: dict[str, Any] = {_METADATA: encoded, **arrays}
    with io.BytesIO() as written:
        np.savez_compressed(written, **members)
        data = written.getvalue()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load(path: Path) -> Stored:
    """Raises: WrongFile; OSError, where it can't be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise WrongFile(f"expected at most {MOST_BYTES} bytes, unpacked; given {size}")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        EOFError,
        KeyError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise WrongFile(f"expected a file that `balancer tier train` wrote: {error}") from None
    if _METADATA not in arrays:
        raise WrongFile("expected a file that `balancer tier train` wrote: it has no metadata")
    encoded = arrays.pop(_METADATA).tobytes()
    try:
        version = msgspec.json.decode(encoded, type=_Version)
        if version.format != FORMAT:
            raise WrongFile(f"format {version.format}: this balancer reads format {FORMAT}; train it anew")
        if version.features != FEATURES:
            raise WrongFile(
                f"features of version {version.features}: this balancer has version {FEATURES}; train it anew"
            )
        metadata = msgspec.json.decode(encoded, type=Metadata)
    except msgspec.DecodeError as error:
        raise WrongFile(f"metadata: {error}") from None
    return Stored(metadata, arrays)


class _Version(msgspec.Struct):
    format: int
    features: int
