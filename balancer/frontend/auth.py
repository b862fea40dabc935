"""API keys of callers. Nothing here logs or returns a key."""

import hmac
from collections.abc import Mapping

from balancer.core.errors import unauthorized
from balancer.forwarding.headers import RawHeaders

CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key"})
"""Where callers put the key: OpenAI's clients and Anthropic's."""


class ApiKeys:
    """Keys and their names. Without keys everyone may call, and credentials pass on to the replicas untouched."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = [(key.encode(), name) for key, name in keys.items()]

    def __bool__(self) -> bool:
        return bool(self._keys)

    @property
    def names(self) -> list[str]:
        return [name for _, name in self._keys]

    def check(self, headers: RawHeaders) -> str:
        """The name of the key that was sent; empty where none is asked for.

        Raises: Refused (401), unless some credential is one of the keys.
        """
        if not self._keys:
            return ""
        for name, value in headers:
            if name.lower() in CREDENTIAL_HEADERS:
                scheme, _, token = value.partition(b" ")
                given = token.strip() if scheme.lower() == b"bearer" else value
                # every key is compared, and each in constant time, so that time tells nothing
                found = [name for key, name in self._keys if hmac.compare_digest(given, key)]
                if found:
                    return found[0]
        raise unauthorized()
