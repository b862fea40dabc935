"""The live page's own files, as they are in the package. They hold no data, so they need no key: what they fetch does.

The page may load nothing from elsewhere, run nothing that is not a file here, be framed by nobody, and write no markup
(require-trusted-types-for): what clients call their models and tenants stays text.
"""

from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

from aiohttp import web

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}


class _File(NamedTuple):
    body: bytes
    content_type: str
    tag: str


@cache
def _files() -> dict[str, _File]:
    found = {}
    for each in (files("balancer.frontend") / "ui").iterdir():
        content_type = _TYPES.get(each.name.rpartition(".")[2])
        if content_type is not None:
            body = each.read_bytes()
            found[each.name] = _File(body, content_type, f'"{sha256(body).hexdigest()[:16]}"')
    return found


def page_file(path: str, known: str) -> web.Response | None:
    """What is there at `/ui` and below; `known` is the If-None-Match of who asks. None: nothing is."""
    if path == "/ui/":  # else the page would look for its files one level too deep
        return web.Response(status=308, headers={"Location": "../ui"})
    name = "index.html" if path == "/ui" else path.removeprefix("/ui/")
    found = _files().get(name)
    if found is None:
        return None
    headers = _HEADERS | {"ETag": found.tag}
    if known == found.tag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=found.body, content_type=found.content_type, charset="utf-8", headers=headers)
