"""The letters of canonical prompts: text as UTF-8, frames around it, JSON and media as what stands for them.

The law: a frame is a byte that UTF-8 never uses (RFC 3629: C0, C1, F5 to FF), so no text can imitate one, and two
prompts have equal bytes only if they are framed alike.

A picture or a sound counts by its content, not by its megabytes of base64: its digest stands for it, repeated until
it weighs as many bytes as a text of so many tokens would. So a block is worth about the same number of tokens wherever
it stands. vLLM's own block hashes hold a hash of the media's content too, or the `uuid` that the client gave it.
"""

import json
from typing import Any

import msgspec
from xxhash import xxh3_128_hexdigest

from balancer.core.request.tokens import BYTES_PER_TOKEN
from balancer.core.types import Json

TURN = b"\xff"  # a role follows
TEXT = b"\xfe"  # text follows, as far as the next frame
NAME = b"\xfd"
MEDIA = b"\xfc"
REASONING = b"\xfb"
CALL = b"\xfa"  # before a turn's text the call that it answers, behind it those that it makes
HEAD = b"\xf9"  # what a template renders before all turns
NEXT = b"\xf8"  # the next prompt of a list

IMAGE_TOKENS = 1024
"""A megapixel at 28 to 32 pixels a patch (Qwen-VL); Gemma 3 spends 256, tiling models up to some thousands."""
AUDIO_TOKENS = 512
"""20 to 40 seconds at 12.5 (Voxtral) to 25 tokens (Qwen-Audio) a second."""
VIDEO_TOKENS = 4096
EMBEDDING_BYTES = 8192
"""One token's embedding: 4,096 values of 16 bits."""

WEIGHED_PIECES = 2048
"""How far into a prompt media weigh: a small body full of them must not become gigabytes."""

_DIGEST_BYTES = 32

_SOURCES = {
    "image_url": (b"image", IMAGE_TOKENS),
    "input_audio": (b"audio", AUDIO_TOKENS),
    "audio_url": (b"audio", AUDIO_TOKENS),
    "video_url": (b"video", VIDEO_TOKENS),
    "image_embeds": (b"embeds", None),
    "audio_embeds": (b"embeds", None),
    "video_embeds": (b"embeds", None),
    "prompt_embeds": (b"embeds", None),
    "source": (b"image", IMAGE_TOKENS),
}
"""Where a part keeps its media, what that is, and its tokens; None: as many as its size tells."""

_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode


Pieces = list[bytes]
"""The canonical prompt so far."""


def utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can say
        return text.encode("utf-8", "surrogatepass")


def json_bytes(value: Json, *, in_order: bool = True) -> bytes:
    """As JSON; `in_order`: its keys in the order that they were sent in."""
    try:
        return _encode(value) if in_order else _encode_sorted(value)
    except (msgspec.MsgspecError, UnicodeEncodeError, OverflowError, RecursionError):
        try:
            return json.dumps(value, sort_keys=not in_order).encode()
        except (ValueError, RecursionError):
            return b""


def add_part(part: dict[str, Any], out: Pieces) -> None:
    """A part that is no text: media by their content, all else as it is."""
    for field, (kind, tokens) in _SOURCES.items():
        if field in part:
            add_media(kind, part.get("uuid") or part[field] or part.get("data"), tokens, out)
            return
    if part.get("type") == "prompt_embeds":
        add_media(b"embeds", part.get("data"), None, out)
        return
    out += (MEDIA, json_bytes({name: value for name, value in part.items() if name != "cache_control"}), TEXT)


def add_media(kind: bytes, source: Json, tokens: int | None, out: Pieces) -> None:
    """`source`: a URL, base64, or an object that holds either; `tokens` None: as many as its size tells."""
    if isinstance(source, dict):
        source = source.get("url") or source.get("data") or source
    raw = utf8(source) if isinstance(source, str) else json_bytes(source)
    if tokens is None:
        tokens = len(raw) * 3 // 4 // EMBEDDING_BYTES
    # the same picture as data: URL (RFC 2397) and as an Anthropic source
    content = memoryview(raw)[raw.find(b",") + 1 :] if raw.startswith(b"data:") else raw
    repeated = max(1, tokens * BYTES_PER_TOKEN // _DIGEST_BYTES) if len(out) < WEIGHED_PIECES else 1
    out += (MEDIA, kind, xxh3_128_hexdigest(content).encode() * repeated, TEXT)
