"""Ids of decisions and requests. Made ones are 128 random bits in hexadecimal, which nobody can guess.

A request keeps the id that its client gave, as far as that can stand in a head and a log line. It goes to the replica as
X-Request-Id, where vLLM makes it a part of the answer's own id (and tells it again under --enable-request-id-headers), and back
to the client.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence

from balancer.forwarding.headers import RawHeaders

CHARS = 32
BATCH = 256
"""So many are drawn from the kernel at once: a system call for each would cost as much as the rest of its head."""

MAX_CHARS = 128
"""Of a request's id, whoever made it."""

_NAME_CHARS = len("x-request-id")
_SOUND = re.compile(rf"[\x21-\x7e]{{1,{MAX_CHARS}}}")
_UNSOUND = re.compile(r"[^\x21-\x7e]+")


def decision_ids() -> Iterator[str]:
    while True:
        drawn = os.urandom(BATCH * CHARS // 2).hex()
        for start in range(0, len(drawn), CHARS):
            yield drawn[start : start + CHARS]


def given_id(headers: Mapping[str, str], names: Sequence[str]) -> str:
    """What the client calls the request, without what is no printable ASCII; empty, if that leaves nothing."""
    for name in names:
        given = headers.get(name)
        if given is not None:
            return given if _SOUND.fullmatch(given) else _UNSOUND.sub("", given)[:MAX_CHARS]
    return ""


def with_id(raw: RawHeaders, request_id: str) -> RawHeaders:
    """The head with this id and no other; untouched, if it is that of the client."""
    told = request_id.encode()
    sent = [value for name, value in raw if len(name) == _NAME_CHARS and name.lower() == b"x-request-id"]
    if sent == [told]:
        return raw
    others = raw if not sent else [(n, v) for n, v in raw if n.lower() != b"x-request-id"]
    return [*others, (b"X-Request-Id", told)]
