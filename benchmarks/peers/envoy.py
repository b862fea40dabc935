"""Envoy, from the build on PyPI. Its least_request takes the better of two at random, so power_of_two models it."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from benchmarks.peers.environment import installed
from benchmarks.peers.peer import Peer, Place, Program, Tools
from benchmarks.peers.pins import ENVOY

_SESSION_HEADER = "x-session-id"
_TYPES = "type.googleapis.com/envoy.extensions"


def find(policy: str) -> Callable[[Tools], Program]:
    def found(tools: Tools) -> Program:
        program = installed(tools, ENVOY) / "envoy"

        def command(place: Place) -> list[str]:
            config = place.folder / "envoy.json"
            config.write_text(json.dumps(envoy_config(place, policy)), encoding="utf-8")
            one_process = ["--concurrency", "1", "--disable-hot-restart"]
            return [str(program), "-c", str(config), "--log-level", "warning", *one_process]

        return Program(command, ENVOY.version)

    return found


def envoy_config(place: Place, policy: str) -> dict[str, Any]:
    route = {
        "cluster": "replicas",
        "timeout": "600s",
        "idle_timeout": "600s",
        "hash_policy": [{"header": {"header_name": _SESSION_HEADER}}],
    }
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "stream_idle_timeout": "600s",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}
            ]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "name": "clients",
        "address": _address("127.0.0.1", place.port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    unlimited = {"max_connections": 16384, "max_pending_requests": 16384, "max_requests": 16384}
    endpoints = [{"endpoint": {"address": _upstream(url)}} for url in place.upstreams]
    cluster = {
        "name": "replicas",
        "type": "STATIC",
        "lb_policy": policy.upper(),
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [unlimited]},
        "load_assignment": {"cluster_name": "replicas", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _upstream(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return _address(parts.hostname or "", parts.port or 80)


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


PEERS = (
    Peer("envoy/round_robin", find("round_robin"), modelled_by="round_robin"),
    Peer("envoy/least_request", find("least_request"), modelled_by="power_of_two"),
    Peer("envoy/ring_hash", find("ring_hash"), modelled_by="session", session_header=_SESSION_HEADER),
)
