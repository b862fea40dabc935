"""The balancer's own pages: models, health, readiness, version, metrics, load."""

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from balancer import __version__
from balancer.accounting.metrics import Metrics
from balancer.core.decider import Decider
from balancer.core.errors import unknown_model
from balancer.core.types import Health
from balancer.frontend.responses import json_response


class OwnPages:
    """`names` are those that clients may ask for beside models; they may be replaced at any time."""

    def __init__(self, decider: Decider, metrics: Metrics, is_draining: Callable[[], bool]) -> None:
        self._fleet = decider.fleet
        self._held = decider.line
        self._metrics = metrics
        self._is_draining = is_draining
        self.names: Sequence[str] = ()
        self.public: dict[str, Callable[[web.BaseRequest], web.Response]] = {
            "/health": self.health,
            "/ping": self.health,
            "/ready": self.ready,
        }
        self.guarded: dict[str, Callable[[web.BaseRequest], Awaitable[web.Response]]] = {
            "/v1/models": self.models,
            "/version": self.version,
            "/metrics": self.metrics,
            "/load": self.load,
        }

    def health(self, request: web.BaseRequest) -> web.Response:
        """The process is alive: nothing more."""
        return web.Response()

    def ready(self, request: web.BaseRequest) -> web.Response:
        """Whether to send traffic here."""
        draining = self._is_draining()
        ready = self._fleet.can_serve() and not draining
        healthy = sum(replica.health is Health.HEALTHY for replica in self._fleet)
        status = "ready" if ready else "draining" if draining else "no healthy replica"
        page = {"status": status, "healthy_replicas": healthy, "replicas": len(self._fleet)}
        return json_response(page, 200 if ready else 503)

    async def version(self, request: web.BaseRequest) -> web.Response:
        return json_response({"version": __version__})

    async def load(self, request: web.BaseRequest) -> web.Response:
        """Requests being served or held, in the shape of vLLM's page."""
        return json_response({"server_load": self._fleet.in_flight + len(self._held)})

    async def metrics(self, request: web.BaseRequest) -> web.Response:
        page, content_type = await self._metrics.page(request.headers.get("Accept", ""))
        return web.Response(body=page, headers={"Content-Type": content_type})

    async def models(self, request: web.BaseRequest) -> web.Response:
        return json_response({"object": "list", "data": list(self._merged().values())})

    def model(self, model: str) -> web.Response:
        """One model, as OpenAI's clients retrieve it.

        Raises: Refused (404).
        """
        merged = self._merged()
        if model not in merged:
            raise unknown_model(model, sorted(merged))
        return json_response(merged[model])

    def _merged(self) -> dict[str, dict[str, object]]:
        """Each model once, as its first replica tells it, with the shortest context that any of them has."""
        merged: dict[str, dict[str, object]] = {}
        for replica in self._fleet:
            for entry in replica.model_entries:
                name = str(entry["id"])
                known = merged.setdefault(name, dict(entry))
                lengths = [e.get("max_model_len") for e in (known, entry)]
                limits = [length for length in lengths if isinstance(length, int)]
                if limits:
                    known["max_model_len"] = min(limits)
            for name in replica.models or ():
                merged.setdefault(name, _entry(name, replica.id if replica.external else "vllm"))
        for name in self.names:
            merged.setdefault(name, _entry(name, "vllm-balancer"))
        return merged


def _entry(name: str, owner: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}
