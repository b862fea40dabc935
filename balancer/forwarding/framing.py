"""How the answer's body is framed for the client: lines of its head, and where its bytes end."""

from balancer.forwarding.client import ClientSide
from balancer.forwarding.headers import RawHeaders

BODILESS = frozenset({204, 304})


def framing(
    client: ClientSide, status: int, length: int | None, headers: RawHeaders, *, streams: bool
) -> list[bytes]:
    """Lines for the head; `length` is that of the body, if it is known. A client of HTTP/1.0 may lose its connection."""
    lines = []
    if length is not None:
        lines.append(b"Content-Length: %d\r\n" % length)
        close = not client.keep_alive
    elif status in BODILESS:
        close = not client.keep_alive
    elif client.http11:
        lines.append(b"Transfer-Encoding: chunked\r\n")
        close = not client.keep_alive
    else:  # HTTP/1.0 knows no chunks: the answer ends with the connection
        client.keep_alive = False
        close = True
    if close:
        lines.append(b"Connection: close\r\n")
    elif not client.http11:
        lines.append(b"Connection: keep-alive\r\n")
    if streams and not any(n.lower() == b"x-accel-buffering" for n, _ in headers):
        lines.append(b"X-Accel-Buffering: no\r\n")  # an nginx in front of us must not gather tokens
    return lines


def without_line_ends(raw: bytes, last: bytes) -> bytes:
    """`raw`, which holds the end of a chunked body, up to that end: llhttp lets line ends follow it. `last`: what came before."""
    rest = raw.rstrip(b"\r\n")
    ends = 4 if rest else 4 - (len(last) - len(last.rstrip(b"\r\n")))
    return raw[: len(rest) + ends]
