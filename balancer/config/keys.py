"""The keys that clients may send, from the settings and from the key file. The file is read anew at every call."""

from pathlib import Path

from balancer.config.schema import Settings, is_key


def client_keys(settings: Settings) -> frozenset[str]:
    """The keys of which a client must send one; none means that no key is asked for.

    OSError or ValueError if `api_key_file` cannot be read or holds no keys: a lost file must not open the door.
    """
    keys = {key.get_secret_value() for key in settings.api_keys}
    if settings.api_key_file is not None:
        keys.update(keys_in(settings.api_key_file))
    return frozenset(keys)


def keys_in(path: Path) -> list[str]:
    keys = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        if not is_key(key):
            raise ValueError(f"one key a line, of printable ASCII: line {number} is not")
        keys.append(key)
    if not keys:
        raise ValueError("a file with at least one key")
    return keys
