"""One replica in the settings."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from balancer.config.group import Group
from balancer.config.kinds import Count, GpuName, Name, one_or_many, one_or_many_gpus
from balancer.config.urls import ReplicaUrl


class Replica(Group):
    url: ReplicaUrl
    """Where the replica listens: http or https, with a path prefix if a proxy in front of it adds one."""

    name: Name = ""
    """How logs and metrics call it. Default: the URL without its scheme."""

    models: Annotated[tuple[Name, ...], Field(min_length=1), BeforeValidator(one_or_many)] | None = None
    """The models it serves. Default: ask the replica, at `/v1/models`."""

    max_in_flight: Count | None = None
    """Its own `max_in_flight_per_replica`."""

    drain: bool = False
    """Send it nothing new; what it has in flight ends in its own time. It is still probed."""

    gpus: Annotated[tuple[GpuName, ...], BeforeValidator(one_or_many_gpus)] | None = None
    """Its GPUs: indexes as nvidia-smi has them, or UUIDs, those of MIG instances too. Default: those on which the process behind
    its port computes. An empty list: none is looked at."""

    gpu_agent: ReplicaUrl | None = None
    """Where `balancer agent` tells of its host's GPUs, if that is another host: `http://gpu-a:9401`."""

    dcgm: ReplicaUrl | None = None
    """Where dcgm-exporter tells of them, in the place of an agent: `http://gpu-a:9400/metrics`. It tells of no processes, so
    `gpus` must be given."""

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"url": value}
        if not isinstance(value, dict | cls):
            raise ValueError("a URL, or a mapping with `url`")  # noqa: TRY004 - pydantic collects ValueErrors only
        return value

    @model_validator(mode="after")
    def _named(self) -> Self:
        if "name" not in self.model_fields_set:
            object.__setattr__(self, "name", self.url.partition("://")[2])
        return self
