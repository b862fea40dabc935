"""Settings that change while the process runs: what takes over, what has to wait, and whether a file has changed."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from balancer.config.load import Loaded
from balancer.config.schema import HELD, Settings


def taken_over(old: Settings, new: Settings) -> tuple[Settings, tuple[str, ...]]:
    """`new`, but for what holds until the process ends; and which of that differs, and so waits for a restart."""
    waiting = tuple(key for key in HELD if getattr(new, key) != getattr(old, key))
    return new.model_copy(update={key: getattr(old, key) for key in waiting}), waiting


def files(loaded: Loaded) -> tuple[Path, ...]:
    """Every file that the settings were read from, or that they name."""
    settings = loaded.settings
    classifiers = (entry.path for _, entry in settings.classifiers())
    named = (loaded.file, settings.api_key_file, settings.ssl_certfile, settings.ssl_keyfile, *classifiers)
    return tuple(path for path in named if path is not None)


class Watched:
    """Whether files hold something else than they did.

    Looked at is what a path leads to in the end, by inode, size and time of change: Kubernetes updates a ConfigMap by turning
    a symbolic link. Contents are compared only then, so touching a file changes nothing; and only once two looks in a row
    agree (`settling` until then): whoever writes the file may be halfway.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(paths)
        self.settling = False
        self._seen = self._compared = self._stats()
        self._contents = self._read()

    def changed(self) -> bool:
        """True once for each change."""
        stats = self._stats()
        self.settling = stats != self._seen
        self._seen = stats
        if self.settling or stats == self._compared:
            return False
        self._compared = stats
        before, self._contents = self._contents, self._read()
        return self._contents != before

    def _stats(self) -> list[tuple[int, int, int] | None]:
        return [_stat(path) for path in self.paths]

    def _read(self) -> list[bytes | None]:
        return [_digest(path) for path in self.paths]


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _digest(path: Path) -> bytes | None:
    try:
        return sha256(path.read_bytes()).digest()
    except OSError:
        return None
