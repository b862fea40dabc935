"""The keys that clients may send, from the settings and from the key file, which is read anew at every call; and the replicas'.

Each of the clients' has a name, which says whose it is: the tenant. In the file it stands before the key, as `name: key`; a
colon and a space, since a key may hold colons and equals signs. A key without one is called by a digest, which tells nothing
of it.
"""

from hashlib import sha256
from pathlib import Path

from balancer.config.kinds import is_key
from balancer.config.schema import Settings

MAX_NAME_CHARS = 128


def client_keys(settings: Settings) -> dict[str, str]:
    """The keys of which a client must send one, with their names; none means that no key is asked for.

    OSError or ValueError if `api_key_file` cannot be read or holds no keys: a lost file must not open the door.
    """
    keys = {key: _digest(key) for key in (each.get_secret_value() for each in settings.api_keys)}
    if settings.api_key_file is not None:
        keys.update(keys_in(settings.api_key_file))
    return keys


def replica_authorization(settings: Settings) -> str | None:
    """The header that replicas get; None: whatever the client sent."""
    key = settings.replica_api_key
    return None if key is None else f"Bearer {key.get_secret_value()}"


def keys_in(path: Path) -> dict[str, str]:
    keys: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        *before, key = text.rsplit(None, 1)
        name = before[0].strip().removesuffix(":") if before else _digest(key)
        colon = not before or before[0].strip().endswith(":")
        if not (is_key(key) and not key.endswith(":") and colon and 0 < len(name) <= MAX_NAME_CHARS):
            raise ValueError(f"one key a line, or `name: key`, of printable ASCII: line {number} is not")
        keys[key] = name
    if not keys:
        raise ValueError("a file with at least one key")
    return keys


def _digest(key: str) -> str:
    return "key-" + sha256(key.encode()).hexdigest()[:8]
