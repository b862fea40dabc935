"""What is asked of a replica beside the requests: its health, the models that it serves, the metrics of its engine.

A page that cannot be read is counted and changes nothing: it never makes a replica look idle. What takes a replica out is the
probe, a closed port at once, and an engine that stands still (core/fleet/health.py).

The probe asks /health, or for one token, which also finds an engine that hangs behind a good /health. A replica that is busy
(429, 503), generates nothing, or is not known with its models yet, is asked for /health after all.
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from time import monotonic

import msgspec
from aiohttp import ClientConnectorError, ClientError, ClientSession, ClientTimeout

from balancer.config.schema import Health as HealthSettings
from balancer.core.decider import Decider
from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import Health
from balancer.vllm_api.metrics import scan

log = logging.getLogger("balancer.observers")

MAX_PAGE_BYTES = 16 * 1024 * 1024
UNHEALTHY_INTERVAL_S = 1.0
"""A replica that is down is probed at least so often: the sooner it is back, the better."""


class _ModelList(msgspec.Struct):
    data: list[dict[str, object]]


_models = msgspec.json.Decoder(_ModelList)

_INCONCLUSIVE = frozenset({400, 401, 403, 404, 405, 422, 429, 503})
"""Of a probe that generates: what says that the request was wrong there, or came at a bad time."""


class ReplicaWatch:
    """The three questions for one replica; each method asks once and returns the seconds until it asks again. `settings` and
    `authorization` may be replaced at any time.
    """

    def __init__(
        self,
        replica: ReplicaState,
        decider: Decider,
        session: ClientSession,
        settings: HealthSettings,
        *,
        authorization: str | None,
        on_failure: Callable[[str, str], None],
    ) -> None:
        self._replica = replica
        self._decider = decider
        self._session = session
        self.settings = settings
        self.authorization = authorization
        self._on_failure = on_failure

    def steps(self) -> dict[str, Callable[[], Awaitable[float]]]:
        """The loops that make up the watch, by what each asks for."""
        return {"health": self.probe_health, "models": self.read_models, "metrics": self.read_metrics}

    @property
    def _headers(self) -> dict[str, str]:
        return {} if self.authorization is None else {"Authorization": self.authorization}

    async def probe_health(self) -> float:
        replica, asked_at = self._replica, monotonic()
        refused = generated = False
        error = ""
        try:
            generated = self.settings.health_probe == "generate" and await self._one_token()
            if not generated:
                status, _ = await self._get("/health", self.settings.health_timeout_s)
                error = "" if status == 200 else f"/health answered {status}"
        except TimeoutError:
            error = f"the probe was not answered within {self.settings.health_timeout_s:g} s"
        except ClientConnectorError as exc:
            refused = isinstance(exc.os_error, ConnectionRefusedError)
            error = f"no connection: {exc.os_error.strerror or exc.os_error}"
        except (ClientError, OSError) as exc:
            error = f"the probe failed: {exc}"
        if error:
            self._on_failure("health", replica.id)
        with self._telling():
            self._decider.probed(
                replica, asked_at, monotonic(), error=error, refused=refused, generated=generated
            )
        if replica.health is Health.HEALTHY:
            return self.settings.health_interval_s
        return min(UNHEALTHY_INTERVAL_S, self.settings.health_interval_s)

    async def _one_token(self) -> bool:
        """Whether the engine generated one; False if the replica is better asked otherwise.

        Raises: what the session raises, and ClientError if the replica answered that it failed.
        """
        model = self._model()
        if model is None:
            return False
        async with self._session.post(
            self._replica.url + "/v1/completions",
            json={"model": model, "prompt": "1", "max_tokens": 1, "temperature": 0},
            headers=self._headers,
            timeout=ClientTimeout(total=self.settings.health_timeout_s),
            allow_redirects=False,
        ) as answer:
            await answer.read()
            if answer.status != 200 and answer.status not in _INCONCLUSIVE:
                raise ClientError(f"one token: status {answer.status}")
            return answer.status == 200

    def _model(self) -> str | None:
        """A model that the replica serves; no adapter, if there is a base model."""
        entries = self._replica.model_entries
        names = [str(entry["id"]) for entry in entries if entry.get("parent") is None]
        return min(names or self._replica.models or (), default=None)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Log what becomes of the replica's health."""
        replica = self._replica
        before = replica.health
        yield
        if replica.health is before:
            return
        if replica.health is Health.HEALTHY or replica.fault is None:
            log.info("replica %s is %s", replica.id, replica.health)
        else:
            log.warning(
                "replica %s is %s (%s): %s", replica.id, replica.health, replica.fault, replica.last_error
            )

    async def read_models(self) -> float:
        replica = self._replica
        try:
            status, page = await self._get("/v1/models", self.settings.health_timeout_s)
            listed = _models.decode(page).data if status == 200 else None
        except (TimeoutError, ClientError, OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            listed = None
        if listed is None:
            self._on_failure("models", replica.id)
            return UNHEALTHY_INTERVAL_S if replica.models is None else self.settings.models_interval_s
        entries = tuple(entry for entry in listed if isinstance(entry.get("id"), str))
        models = frozenset(str(entry["id"]) for entry in entries)
        if replica.declared:
            entries = tuple(entry for entry in entries if entry["id"] in (replica.models or ()))
        elif models != replica.models:
            log.info("replica %s serves %s", replica.id, ", ".join(sorted(models)) or "no model")
            self._decider.serves(replica, models)
        replica.model_entries = entries
        return self.settings.models_interval_s

    async def read_metrics(self) -> float:
        replica = self._replica
        in_flight = replica.in_flight
        answered, page = True, None
        try:
            status, body = await self._get("/metrics", self.settings.metrics_timeout_s)
            page = body if status == 200 else None
        except TimeoutError:
            answered = False
        except (ClientError, OSError):
            pass
        if page is None:
            self._on_failure("metrics", replica.id)
        with self._telling():
            if page is None:
                self._decider.unread(replica, monotonic(), answered=answered)
            elif self._decider.sampled(replica, scan(page, monotonic()), in_flight):
                log.info("replica %s restarted: its cache is taken for empty", replica.id)
        return self.settings.metrics_interval_s

    async def _get(self, path: str, timeout_s: float) -> tuple[int, bytes]:
        async with self._session.get(
            self._replica.url + path,
            headers=self._headers,
            timeout=ClientTimeout(total=timeout_s),
            allow_redirects=False,
        ) as answer:
            page = await answer.content.read(MAX_PAGE_BYTES)
            while len(page) < MAX_PAGE_BYTES and (more := await answer.content.read(MAX_PAGE_BYTES)):
                page += more
            return answer.status, page
