"""HTTP/1.1 heads, built from what came in. Hop-by-hop fields stop here (RFC 9110 section 7.6.1), framing is said
once (RFC 9112 section 6.1), everything else passes in its order and spelling.
"""

from collections.abc import Iterable, Sequence
from http import HTTPStatus

RawHeaders = Sequence[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_NOT_SENT_ON = _HOP_BY_HOP | {b"host", b"content-length", b"expect"}
_NOT_SENT_BACK = _HOP_BY_HOP | {b"content-length"}
FOR_STRANGERS = frozenset(
    {
        b"accept",
        b"anthropic-beta",
        b"anthropic-version",
        b"content-encoding",
        b"content-type",
        b"idempotency-key",
        b"openai-beta",
        b"user-agent",
        b"x-request-id",
    }
)
"""What a provider is told of the client's head. Not its key, cookies or address, nor ids of sessions, tenants and traces; nor
which encodings it takes, so that the answer can be read here.
"""
FROM_STRANGERS = frozenset(
    {
        b"cache-control",
        b"content-encoding",
        b"content-type",
        b"date",
        b"openai-processing-ms",
        b"request-id",
        b"retry-after",
        b"x-request-id",
    }
)
"""What the client is told of a provider's head. Not its cookies, nor what it says of our account: its name, limits and budget."""
_NAMES_NO_FIELD = frozenset({b"close", b"keep-alive"})


def _connection_options(headers: RawHeaders) -> frozenset[bytes]:
    """The fields that Connection headers name: hop-by-hop as well. Almost always none."""
    options: frozenset[bytes] = frozenset()
    for name, value in headers:
        if len(name) == 10 and name.lower() == b"connection" and value.lower() not in _NAMES_NO_FIELD:
            options |= {option.strip().lower() for option in value.split(b",")}
    return options


def request_head(
    method: bytes,
    target: bytes,
    host: bytes,
    headers: RawHeaders,
    body_bytes: int | None,
    *,
    authorization: bytes | None = None,
    drop: frozenset[bytes] = frozenset(),
    only: frozenset[bytes] | None = None,
) -> bytes:
    """The head to send to a replica.

    `authorization` replaces the caller's; `drop` names further fields (lower case) that stay here, `only` all that do not.
    """
    if only is not None:
        headers = [(name, value) for name, value in headers if name.lower() in only]
    stays = drop | _connection_options(headers)
    if authorization is not None:
        stays |= {b"authorization"}
    lines = [b"%s %s HTTP/1.1\r\nHost: %s\r\n" % (method, target, host)]
    for name, value in headers:
        low = name.lower()
        if low not in _NOT_SENT_ON and low not in stays:
            lines.append(b"%s: %s\r\n" % (name, value))
    if authorization is not None:
        lines.append(b"Authorization: %s\r\n" % authorization)
    if body_bytes is not None:
        lines.append(b"Content-Length: %d\r\n" % body_bytes)
    lines.append(b"\r\n")
    return b"".join(lines)


def response_head(
    status: int, reason: bytes, headers: RawHeaders, added: Iterable[bytes], request_id: bytes = b""
) -> bytes:
    """The head to send to the client; `added` are whole lines (framing, connection). `request_id` is told unless the replica has
    told one.
    """
    lines = [b"HTTP/1.1 %d %s\r\n" % (status, reason)]
    named = _connection_options(headers)
    for name, value in headers:
        low = name.lower()
        if low not in _NOT_SENT_BACK and low not in named:
            lines.append(b"%s: %s\r\n" % (name, value))
            if low == b"x-request-id":
                request_id = b""
    if request_id:
        lines.append(b"x-request-id: %s\r\n" % request_id)
    lines.extend(added)
    lines.append(b"\r\n")
    return b"".join(lines)


def is_encoded(headers: RawHeaders) -> bool:
    """Whether the body is compressed."""
    return any(n.lower() == b"content-encoding" and v.lower() != b"identity" for n, v in headers)


def told_by_strangers(headers: RawHeaders) -> RawHeaders:
    """What of a provider's head is for the client."""
    return [(name, value) for name, value in headers if name.lower() in FROM_STRANGERS]


def retry_after_s(headers: RawHeaders) -> float | None:
    """When to ask again, if the answer counts that in seconds."""
    told = next((value for name, value in headers if name.lower() == b"retry-after"), b"")
    return float(told) if told.isdigit() else None


def phrase(status: int) -> bytes:
    """The reason that belongs to a status, if one does."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
