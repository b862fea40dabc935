"""The settings: one frozen model, whose fields are at once the keys of the file, the flags and the environment.

Names, types, defaults, bounds and help stand here and nowhere else; flags, reference and messages are made from
them. Nothing here reads a file, an environment or a clock. An error raised here says what was expected and never
repeats the value: the value may be a secret.
"""

import ipaddress
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from balancer.config.group import AT_START, Group
from balancer.config.kinds import (
    Bytes,
    Count,
    File,
    Header,
    Headers,
    Name,
    OverloadStatus,
    Period,
    Port,
    Seconds,
    Secret,
    Share,
    no_is_off,
    number,
    one_or_many,
)
from balancer.config.mistakes import Contradiction
from balancer.config.outcomes import Outcomes
from balancer.config.replica import Replica
from balancer.config.telling import Logging
from balancer.config.tiering import Tiering
from balancer.config.tiering_check import contradictions


class Replicas(Group):
    replicas: Annotated[
        tuple[Annotated[Replica, "replica URL"], ...], Field(min_length=1), BeforeValidator(one_or_many)
    ]
    """The vLLM replicas: URLs, or mappings of `url`, `name`, `models` and what else stands below."""

    replica_api_key: Secret | None = None
    """Key sent to the replicas, as `Authorization: Bearer`. Default: the client's own header goes through."""


class Server(Group):
    host: Annotated[Name, AT_START] = "0.0.0.0"  # noqa: S104 - a load balancer is there to be reached
    """Address to listen on."""

    port: Annotated[Port, AT_START] = 8080
    """Port to listen on; 0 takes a free one, which is printed at the start."""

    ssl_certfile: Annotated[File | None, AT_START] = None
    """Certificate chain (PEM), to serve HTTPS. A reload reads the file anew."""

    ssl_keyfile: Annotated[File | None, AT_START] = None
    """Private key (PEM) of `ssl_certfile`."""

    max_body_bytes: Bytes = 512 * 1024 * 1024
    """Largest request body; a larger one is answered 413."""

    max_header_bytes: Bytes = 64 * 1024
    """Largest request head, and largest single header; a larger one is answered 431."""

    client_keepalive_timeout_s: Seconds = 75
    """How long an idle client connection stays open."""

    client_stall_timeout_s: Period = 300
    """How long a client may take nothing of an answer that waits for it. It is let go then, and its generation ended;
    until then its replica is read no further than it reads."""

    api_keys: Annotated[tuple[Secret, ...], BeforeValidator(one_or_many)] = ()
    """Keys of which clients must send one, as `Authorization: Bearer`. Default: no key is asked for."""

    api_key_file: File | None = None
    """File with further such keys: one a line, or `name: key`, where the name is the tenant's; empty lines and lines that
    begin with # are skipped."""

    prometheus_port: Annotated[Port | None, AT_START] = None
    """Serve `/metrics` on a port of its own. Default: on `port`."""

    prometheus_host: Annotated[Name, AT_START] = "0.0.0.0"  # noqa: S104 - scraped from elsewhere
    """Address of `prometheus_port`."""

    request_id_headers: Headers = ("x-request-id",)
    """Request headers that may carry the request's id; the first one sent is used."""

    decision_headers: bool = True
    """Tell with each answer which replica gave it, why, and under which id that was decided; where tiers are asked, which one, by
    which score, and what was left before. Switch it off where clients are not to see your names."""

    heal_json: bool = False
    """Mend JSON that a client asked for (`response_format` and its like, arguments of tool calls) and a model got wrong, in
    answers that don't stream, and say so in the head `x-balancer-healed`. A request may ask for it, or for none, with
    `x-balancer-heal-json: 1` or `0`. Needs the extra `heal`."""

    event_loop: Annotated[Literal["uvloop", "asyncio"], AT_START] = "uvloop"
    """Event loop implementation."""

    reuse_port: Annotated[bool, AT_START] = False
    """Listen with SO_REUSEPORT, so that several balancers share one port."""


PolicyName = Literal[
    "cache_aware",
    "predicted_latency",
    "session",
    "prefix_hash",
    "least_requests",
    "power_of_two",
    "round_robin",
    "random",
    "sglang_cache_aware",
    "llm_d_322",
    "llm_d_sticky",
    "dynamo_cost",
    "preble_e2",
    "lmetric",
    "production_stack_loadaware",
]


class Routing(Group):
    policy: Annotated[PolicyName, AT_START] = "predicted_latency"
    """How a replica is chosen: balancer/core/scheduling/README.md has a card for each."""

    session_headers: Headers = ("x-session-id", "x-session-affinity")
    """Request headers that name the conversation; the first one sent is used."""

    index_max_blocks: Annotated[Count, AT_START] = 1_000_000
    """Bound of the prefix index, in blocks."""

    max_attempts: Count = 3
    """Attempts that may fail for one request, each on another replica while there is one. Replicas that are too busy are not
    counted: each may say so once, within `retry_budget`."""

    retry_budget: Annotated[float, "share", BeforeValidator(number), Field(ge=0, le=1)] = 0.2
    """Share of the requests of the last seconds that may be tried again after a replica was too busy or too slow (and
    10 more), so that overload is not amplified. What a dead replica had is taken over in any case."""

    resume: Annotated[Literal["off", "text", "exact"], BeforeValidator(no_is_off)] = "text"
    """How a chat or completions stream goes on when its replica dies after tokens were delivered. `text`: from the delivered
    text; nothing is added to any request. `exact`: from token ids, so that a greedy answer is what it would have been;
    `return_token_ids` is added to greedy streams, and what it brings is taken out again. `off`: the stream ends with an
    error event."""

    resume_sampled: bool = False
    """Go on with sampled streams too (any but those with `temperature: 0`): the rest is drawn anew."""

    scale_out_routes: bool = False
    """Pass on the routes that vLLM itself serves only with `--enable-scale-out`: `/inference/v1/generate`, render and
    derender."""


class Admission(Group):
    max_waiting: Annotated[int, "whole number", BeforeValidator(number), Field(ge=0)] = 1000
    """Requests that may wait in the balancer, for each model; a further one is refused at once. 0: none waits, and only
    `max_in_flight_per_replica` is a reason to refuse."""

    max_wait_s: Period | None = None
    """How long a request may wait in the balancer. Default: no limit but the client's patience."""

    max_in_flight_per_replica: Count | None = None
    """Most requests that this balancer has on one replica. Default: no limit but what the replica's own metrics and speed
    tell."""

    overload_status: OverloadStatus = 503
    """Status of a refusal for overload: 503 or 429."""

    timeout_headers: Headers = ("x-request-timeout",)
    """Request headers that may carry the client's patience in seconds, its deadline in the queue; the first one sent is
    used."""

    tenant_header: Header | None = None
    """Request header that names the tenant, set by a proxy that you trust. Default: the name of the API key."""


class Upstream(Group):
    connect_timeout_s: Period = 5
    """How long to wait for a connection to a replica."""

    upstream_keepalive_s: Annotated[Seconds, Field(lt=5)] = 4
    """How long an idle connection to a replica is kept. Below 5: uvicorn, in front of vLLM, closes its own at 5 s."""

    first_byte_timeout_s: Period | None = None
    """How long a replica may take to begin its answer. Default: as long as it shows signs of life, since a long queue is
    not a fault (balancer/core/fleet/patience.py)."""

    idle_timeout_s: Period | None = None
    """How long a replica may fall silent within an answer. Default: as long as it shows signs of life elsewhere."""

    total_timeout_s: Period | None = None
    """How long a request may take in all, from its arrival to the end of its answer. Default: no limit: long answers are no
    fault."""


class Health(Group):
    health_probe: Literal["health", "generate"] = "health"
    """What a probe asks: `/health`, or for one token. The latter finds engines that hang behind a good `/health` before a
    request does, for a step of the engine each time."""

    health_interval_s: Period = 5
    """Time between two health probes of a replica."""

    health_timeout_s: Period = 5
    """How long a health probe may take."""

    health_failure_threshold: Count = 3
    """Failures in a row after which a replica gets no requests. Probes and requests are counted apart."""

    health_success_threshold: Count = 1
    """Good probes in a row after which it gets requests again, if it was its probe that failed."""

    ejection_s: Period = 5
    """How long a replica whose answers fail, or whose engine stands still, gets no requests the first time; each further time
    twice as long. Then it gets one at a time, until it answers one."""

    max_ejection_s: Period = 60
    """The longest such time."""

    stall_s: Period = 10
    """How long an engine may have work and show neither a token nor any movement in its metrics."""

    panic_threshold: Share = 0.5
    """Share of a model's replicas: if fewer are healthy, those that are only suspected are tried too. 0: never."""

    warmup_s: Seconds = 30
    """How long a replica that is back or new takes until it gets its full share. 0: it gets it at once."""

    metrics_interval_s: Period = 1
    """Time between two readings of a replica's `/metrics`."""

    metrics_timeout_s: Period = 5
    """How long such a reading may take."""

    models_interval_s: Period = 30
    """Time between two readings of a replica's `/v1/models`."""


class Gpus(Group):
    gpus: Annotated[Literal["auto", "off"], BeforeValidator(no_is_off)] = "auto"
    """Whether GPUs are looked at: by NVML on this host, where it is there, and where replicas name a `gpu_agent` or `dcgm`."""

    gpu_interval_s: Annotated[Period, Field(le=10)] = 2
    """Time between two readings of them."""


class Shutdown(Group):
    drain_delay_s: Seconds = 0
    """After SIGTERM: how long new requests are still taken while readiness already says no. Give the load balancer
    in front time to notice."""

    drain_timeout_s: Seconds = 300
    """How long running requests may then take to end: 300 s are 9,000 tokens at 30 tokens/s, a long answer whole.
    Kubernetes kills after `terminationGracePeriodSeconds` (30 by default): give it more than both together."""


class Operation(Group):
    config_watch_interval_s: Seconds = 5
    """How often the configuration file, `api_key_file` and the certificate are looked at for changes, which then hold without
    a restart; 0: only when SIGHUP or the admin API asks."""

    admin_port: Annotated[Port | None, AT_START] = None
    """Serve the admin API on this port. Default: there is none."""

    admin_host: Annotated[Name, AT_START] = "127.0.0.1"
    """Address of `admin_port`."""

    admin_api_key: Secret | None = None
    """Key that the admin API asks for, as `Authorization: Bearer`. It must be set unless `admin_host` is a loopback address."""

    ui: bool = True
    """Serve the live page at `/ui` of `admin_port`. It asks for `admin_api_key`, if there is one."""


class Settings(
    Logging,
    Outcomes,
    Operation,
    Shutdown,
    Gpus,
    Health,
    Upstream,
    Admission,
    Tiering,
    Routing,
    Server,
    Replicas,
):
    """All settings. The parents are the groups of help and reference; fields are ordered from the last one on."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found = list(self._contradictions())
        if found:
            text = "; ".join(f"{each.location}: expected {each.expected}" for each in found)
            raise PydanticCustomError("contradiction", "{text}", {"text": text, "found": found})
        return self

    def _contradictions(self) -> Iterator[Contradiction]:
        ssl = frozenset({"ssl_certfile", "ssl_keyfile"})
        for given, lacking in (("ssl_certfile", "ssl_keyfile"), ("ssl_keyfile", "ssl_certfile")):
            if getattr(self, given) is not None and getattr(self, lacking) is None:
                yield Contradiction((lacking,), f"a file path, since {given} is set", ssl)
        if self.prometheus_port is not None and self.prometheus_port == self.port != 0:
            involved = frozenset({"prometheus_port", "port"})
            yield Contradiction(
                ("prometheus_port",), f"another port than `port`, which is {self.port}", involved
            )
        yield from self._admin_contradictions()
        yield from contradictions(self, [replica.name for replica in self.replicas])
        urls: dict[str, int] = {}
        names: dict[str, int] = {}
        for index, replica in enumerate(self.replicas):
            same_url = urls.setdefault(replica.url, index)
            same_name = names.setdefault(replica.name, index)
            if same_url != index:
                yield Contradiction(
                    ("replicas", index, "url"), f"another URL than that of replicas[{same_url}]"
                )
            elif same_name != index:
                yield Contradiction(
                    ("replicas", index, "name"), f"another name than that of replicas[{same_name}]"
                )
            if replica.dcgm and replica.gpu_agent:
                yield Contradiction(("replicas", index, "dcgm"), "`dcgm` or `gpu_agent`, not both")
            elif replica.dcgm and replica.gpus is None:
                yield Contradiction(
                    ("replicas", index, "gpus"), "its GPUs, since `dcgm` tells of no processes"
                )

    def _admin_contradictions(self) -> Iterator[Contradiction]:
        if self.admin_port is None:
            return
        for other in ("port", "prometheus_port"):
            if self.admin_port == getattr(self, other) != 0:
                yield Contradiction(
                    ("admin_port",),
                    f"another port than `{other}`, which is {self.admin_port}",
                    frozenset({"admin_port", other}),
                )
        if self.admin_api_key is None and not _is_loopback(self.admin_host):
            yield Contradiction(
                ("admin_api_key",),
                "a key, since admin_host is not a loopback address",
                frozenset({"admin_port", "admin_host", "admin_api_key"}),
            )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


HELD = tuple(key for key, field in Settings.model_fields.items() if AT_START in field.metadata)
"""What only a restart changes."""

GROUPS: tuple[type[BaseModel], ...] = tuple(reversed(Settings.__bases__))
