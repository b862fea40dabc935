"""Replica URLs: what is accepted, and the one normal form in which two URLs of one replica are equal."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")  # `_`: compose service names
_PATH = re.compile(r"[A-Za-z0-9/._~%!$&'()*+,;=:@-]*")  # RFC 3986, 3.3


def normal(url: str) -> str:
    """`scheme://host:port/path`: lower-case scheme and host, the port always there, no trailing slash.

    ValueError says what was expected and never repeats the URL: it may hold a password.
    """
    scheme, separator, _ = url.strip().partition("://")
    if not separator or scheme.lower() not in DEFAULT_PORTS:
        raise ValueError("a URL that begins with http:// or https://")
    if "@" in url:
        raise ValueError("a URL without credentials; `replica_api_key` is sent to the replicas")
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname or ""
    except ValueError:
        raise ValueError("a URL with a valid host") from None
    try:
        port = parts.port if parts.port is not None else DEFAULT_PORTS[parts.scheme]
    except ValueError:
        port = 0
    if not 1 <= port <= 65535:
        raise ValueError("a URL with a port from 1 to 65535")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError("a URL without query and fragment")
    if not host:
        raise ValueError("a URL with a host")
    if not _PATH.fullmatch(parts.path):
        raise ValueError("a URL whose path has no spaces and no special characters, unless as %XX")
    return f"{parts.scheme}://{_host(host)}:{port}{parts.path.rstrip('/')}"


def redacted(text: str) -> str:
    """`text` as it may be shown: whatever stands before an @ or behind a ? may be a secret."""
    text = re.sub(r"^(\w+://)?.*@", r"\1***@", text, flags=re.DOTALL)
    return re.sub(r"\?.*", "?***", text, flags=re.DOTALL) if "://" in text else text


def _host(host: str) -> str:
    if ":" in host:
        try:
            return f"[{ipaddress.IPv6Address(host)}]"
        except ValueError:
            raise ValueError("a URL with a valid IPv6 address") from None
    if not _HOST.fullmatch(host):
        raise ValueError("a URL with a valid host")
    return host


def _collector(url: str) -> str:
    """An OTLP endpoint; where only a host is named, the path is the one that collectors serve."""
    if "@" in url:
        raise ValueError("a URL without credentials; OTEL_EXPORTER_OTLP_HEADERS carries them")
    endpoint = normal(url)
    return endpoint if urlsplit(endpoint).path else f"{endpoint}/v1/traces"


CollectorUrl = Annotated[str, "URL", AfterValidator(_collector)]
ReplicaUrl = Annotated[str, "URL", AfterValidator(normal)]
