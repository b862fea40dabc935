"""Vectors of prompts from an OpenAI-compatible /v1/embeddings, for training. When serving, `observers` asks for them."""

import http.client
import json
import socket
import ssl
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from balancer.learning.rows import BadData

BATCH: Final = 64
TIMEOUT_S: Final = 60.0


def embedded(texts: Sequence[str], url: str, model: str, key: str | None = None) -> NDArray[np.float32]:
    """(n, d), of unit length, in the order of the texts. `url` ends where /embeddings follows.

    Raises: BadData, which says what the endpoint did wrong.
    """
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(texts), BATCH):
        batch = list(texts[start : start + BATCH])
        answer = _post(
            f"{url.rstrip('/')}/embeddings", {"model": model, "input": batch, "encoding_format": "float"}, key
        )
        parts.append(vectors_of(answer, len(batch)))
    widths = {part.shape[1] for part in parts}
    if len(widths) != 1:
        raise BadData(f"{url}: expected vectors of one length, given {sorted(widths)}")
    found = np.concatenate(parts)
    scaled: NDArray[np.float32] = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return scaled


def vectors_of(answer: Any, count: int) -> NDArray[np.float32]:
    """The vectors in an answer, by index.

    Raises: BadData.
    """
    found: dict[int, list[float]] = dict(_entries(answer))
    if sorted(found) != list(range(count)):
        raise BadData(f"/embeddings: expected {count} vectors, given {len(found)}")
    try:
        vectors = np.array([found[i] for i in range(count)], dtype=np.float32)
    except (ValueError, TypeError):
        raise BadData("/embeddings: expected vectors of numbers, all of one length") from None
    if vectors.ndim != 2 or not vectors.shape[1] or not np.isfinite(vectors).all():
        raise BadData("/embeddings: expected vectors of finite numbers")
    return vectors


def _entries(answer: Any) -> Iterator[tuple[int, Any]]:
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise BadData("/embeddings: expected an answer with data")
    for position, entry in enumerate(data):
        if isinstance(entry, dict) and isinstance(entry.get("embedding"), list):
            index = entry.get("index", position)
            yield (index if isinstance(index, int) else position), entry["embedding"]


def _post(url: str, body: Any, key: str | None) -> Any:
    where = urllib.parse.urlsplit(url)
    if where.scheme not in {"http", "https"} or not where.hostname:
        raise BadData(f"--embeddings: expected an http or https address, given {url}")
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    connection = kind(where.hostname, where.port, timeout=TIMEOUT_S)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        connection.request("POST", where.path, json.dumps(body).encode(), headers)
        answered = connection.getresponse()
        data = answered.read()
    except (OSError, http.client.HTTPException, socket.gaierror, ssl.SSLError) as error:
        raise BadData(f"{where.scheme}://{where.netloc}: {str(error) or type(error).__name__}") from None
    finally:
        connection.close()
    if answered.status != 200:
        raise BadData(
            f"{where.scheme}://{where.netloc} answered {answered.status}: {data[:300].decode(errors='replace')}"
        )
    try:
        return json.loads(data)
    except ValueError:
        raise BadData(f"{where.scheme}://{where.netloc} answered no JSON") from None
