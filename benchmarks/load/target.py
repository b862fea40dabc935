"""Where requests go, and what they look like on the wire."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from benchmarks.workloads.script import CHAT_PATH, COMPLETIONS_PATH

_STREAMING = {CHAT_PATH, COMPLETIONS_PATH, "/v1/responses", "/v1/messages"}
_TELLS_USAGE = {CHAT_PATH, COMPLETIONS_PATH}
"""Streams that tell usage only where `stream_options` asks for it."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Target:
    """`url` is a server's base, with a path before /v1 where it has one; an OpenAI base URL that ends in /v1 does as well.
    Each conversation's name goes into `session_header`. No answer may take longer than `patience_s`.
    """

    url: str
    model: str
    api_key: str | None = None
    session_header: str | None = None
    patience_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int
    tls: ssl.SSLContext | None
    prefix: str
    authority: str


def address(url: str) -> Address:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"target: expected http(s)://HOST[:PORT][/PATH], got {url!r}")
    secure = parts.scheme == "https"
    return Address(
        host=parts.hostname,
        port=port or (443 if secure else 80),
        tls=ssl.create_default_context() if secure else None,
        prefix=parts.path.rstrip("/").removesuffix("/v1"),
        authority=parts.netloc.rpartition("@")[2],
    )


class Wire:
    """Makes the bytes of requests to one target."""

    def __init__(self, target: Target) -> None:
        self.address = address(target.url)
        self._target = target
        for name, value in (("api key", target.api_key), ("session header", target.session_header)):
            if value is not None and not (value.isascii() and value.isprintable()):
                raise ValueError(f"{name}: expected printable ASCII, got {value!r}")

    def request(self, path: str, body: Mapping[str, Any], session: str, *, stream: bool) -> bytes:
        target = self._target
        content = _encode(completed(path, body, target.model, stream=stream))
        head = [
            f"POST {self.address.prefix}{path} HTTP/1.1",
            f"Host: {self.address.authority}",
            "Accept: */*",
            "User-Agent: vllm-balancer-bench",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
        ]
        if target.api_key is not None:
            head.append(f"Authorization: Bearer {target.api_key}")
        if target.session_header is not None:
            head.append(f"{target.session_header}: {''.join(filter(str.isprintable, session))}")
        return "\r\n".join([*head, "", ""]).encode("ascii", "replace") + content


def completed(path: str, body: Mapping[str, Any], model: str, *, stream: bool) -> dict[str, Any]:
    """The body with what the client adds: whether generating routes stream, unless the body says so itself, and telling usage."""
    whole = {**body, "model": model}
    if path in _STREAMING:
        whole.setdefault("stream", stream)
    if path in _TELLS_USAGE and whole["stream"]:
        whole["stream_options"] = {**(whole.get("stream_options") or {}), "include_usage": True}
    return whole
