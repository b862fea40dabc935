"""What is asked of a replica beside the requests: its health, the models that it serves, the metrics of its engine.

A page that cannot be read is counted and changes nothing: it never takes a replica out, and never makes it
look idle. Only the probe of /health does, and a closed port at once.
"""

import logging
from collections.abc import Callable
from time import monotonic

import msgspec
from aiohttp import ClientConnectorError, ClientError, ClientSession, ClientTimeout

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


class ReplicaWatch:
    """The three questions for one replica; each method asks once and returns the seconds until it asks again."""

    def __init__(
        self,
        replica: ReplicaState,
        decider: Decider,
        session: ClientSession,
        *,
        authorization: str | None,
        health_interval_s: float,
        health_timeout_s: float,
        metrics_interval_s: float,
        metrics_timeout_s: float,
        models_interval_s: float,
        on_failure: Callable[[str, str], None],
    ) -> None:
        self._replica = replica
        self._decider = decider
        self._session = session
        self._headers = {} if authorization is None else {"Authorization": authorization}
        self._health_interval_s = health_interval_s
        self._health_timeout_s = health_timeout_s
        self._metrics_interval_s = metrics_interval_s
        self._metrics_timeout_s = metrics_timeout_s
        self._models_interval_s = models_interval_s
        self._on_failure = on_failure

    async def probe_health(self) -> float:
        replica = self._replica
        refused = False
        try:
            status, _ = await self._get("/health", self._health_timeout_s)
            error = "" if status == 200 else f"/health answered {status}"
        except TimeoutError:
            error = f"/health did not answer within {self._health_timeout_s:g} s"
        except ClientConnectorError as exc:
            refused = True
            error = f"no connection: {exc.os_error.strerror or exc.os_error}"
        except (ClientError, OSError) as exc:
            error = f"/health: {exc}"
        if not error:
            if self._decider.answered(replica):
                log.info("replica %s is healthy", replica.id)
            return self._health_interval_s
        self._on_failure("health", replica.id)
        if self._decider.failed(replica, error, certain=refused):
            log.warning("replica %s is unhealthy: %s", replica.id, error)
        if replica.health is Health.HEALTHY:
            return self._health_interval_s
        return min(UNHEALTHY_INTERVAL_S, self._health_interval_s)

    async def read_models(self) -> float:
        replica = self._replica
        try:
            status, page = await self._get("/v1/models", self._health_timeout_s)
            listed = _models.decode(page).data if status == 200 else None
        except (TimeoutError, ClientError, OSError, msgspec.MsgspecError, UnicodeDecodeError):
            listed = None
        if listed is None:
            self._on_failure("models", replica.id)
            return UNHEALTHY_INTERVAL_S if replica.models is None else self._models_interval_s
        entries = tuple(entry for entry in listed if isinstance(entry.get("id"), str))
        models = frozenset(str(entry["id"]) for entry in entries)
        if replica.declared:
            entries = tuple(entry for entry in entries if entry["id"] in (replica.models or ()))
        elif models != replica.models:
            log.info("replica %s serves %s", replica.id, ", ".join(sorted(models)) or "no model")
            replica.models = models
        replica.model_entries = entries
        return self._models_interval_s

    async def read_metrics(self) -> float:
        replica = self._replica
        in_flight = replica.in_flight
        try:
            status, page = await self._get("/metrics", self._metrics_timeout_s)
        except (TimeoutError, ClientError, OSError):
            status, page = 0, b""
        if status != 200:
            self._on_failure("metrics", replica.id)
            return self._metrics_interval_s
        sample = scan(page, monotonic())
        if self._decider.sampled(replica, sample, in_flight):
            log.info("replica %s restarted: its cache is taken for empty", replica.id)
        return self._metrics_interval_s

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
