"""Ours: every policy that is no copy of a peer's."""

import sys
from collections.abc import Callable

from balancer import __version__
from benchmarks.peers.peer import SESSION_HEADER, Peer, Place, Program, Tools

_POLICIES = (
    "predicted_latency",
    "cache_aware",
    "prefix_hash",
    "session",
    "power_of_two",
    "least_requests",
    "round_robin",
    "random",
)


def program(policy: str) -> Program:
    def command(place: Place) -> list[str]:
        serve = [sys.executable, "-m", "balancer", "serve", "--host", "127.0.0.1", "--port", str(place.port)]
        return [*serve, "--policy", policy, "--worker-urls", *place.upstreams]

    return Program(command, __version__)


def find(policy: str) -> Callable[[Tools], Program]:
    return lambda _: program(policy)


PEERS = tuple(
    Peer(
        f"balancer/{policy}",
        find(policy),
        modelled_by=policy,
        session_header=SESSION_HEADER if policy == "session" else None,
    )
    for policy in _POLICIES
)
