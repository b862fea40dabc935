"""A running balancer's admin API, asked by a command: one request at a time, with errors that say what to do."""

import http.client
import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

KEY_VARIABLE = "BALANCER_ADMIN_API_KEY"
PORT_VARIABLE = "BALANCER_ADMIN_PORT"
URL_VARIABLE = "BALANCER_ADMIN_URL"
TIMEOUT_S = 10.0


class AdminError(Exception):
    """It could not be asked, or would not answer; the message says what to do."""


def admin_url(given: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """Where the admin API is: as given, or by the environment.

    Raises: ValueError, naming what is wrong with it, or what to give.
    """
    url = given or environ.get(URL_VARIABLE)
    if not url:
        port = environ.get(PORT_VARIABLE)
        if not port:
            raise ValueError(
                f"--url: expected where `admin_port` is, as http://127.0.0.1:8081 (or {URL_VARIABLE})"
            )
        url = f"http://127.0.0.1:{port}"
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or "@" in url:
        raise ValueError("--url: expected http://HOST:PORT of the admin API, without credentials")
    return url.rstrip("/")


class AdminClient:
    """Keeps its connection; `key` is what `admin_api_key` says there."""

    def __init__(self, url: str, key: str | None, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._url = url
        self._path = parts.path
        self._connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
        self._headers = {"Accept": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def ask(self, path: str, body: Any = None) -> Any:
        """What it answers, decoded; a `body` is posted as JSON.

        Raises: AdminError.
        """
        method, sent, headers = "GET", None, self._headers
        if body is not None:
            method, sent = "POST", json.dumps(body).encode()
            headers = headers | {"Content-Type": "application/json"}
        try:
            self._connection.request(method, self._path + path, sent, headers)
            answer = self._connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise AdminError(f"{self._url}: {why}; does a balancer listen there with --admin-port?") from None
        if answer.status == http.HTTPStatus.UNAUTHORIZED:
            raise AdminError(
                f"{self._url}: the key is not the one: set {KEY_VARIABLE} to its `admin_api_key`"
            )
        try:
            told = json.loads(said)
        except ValueError:
            told = None
        if answer.status != http.HTTPStatus.OK:
            hint = "; is it the admin port?" if answer.status == http.HTTPStatus.NOT_FOUND else ""
            raise AdminError(f"{self._url}{path}: {_message(told) or f'answered {answer.status}'}{hint}")
        if not isinstance(told, dict):
            raise AdminError(f"{self._url}{path}: no answer of a balancer; is it the admin port?")
        return told

    def close(self) -> None:
        self._connection.close()


def _message(told: Any) -> str | None:
    error = told.get("error") if isinstance(told, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else None
