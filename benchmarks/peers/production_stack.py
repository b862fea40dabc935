"""The router of vLLM's production stack, from its source: it is on no package index."""

from collections.abc import Callable

from benchmarks.peers.environment import installed
from benchmarks.peers.peer import Peer, Place, Program, Tools
from benchmarks.peers.pins import PRODUCTION_STACK

_SESSION_HEADER = "x-session-id"


def find(logic: str, *options: str) -> Callable[[Tools], Program]:
    def found(tools: Tools) -> Program:
        program = installed(tools, PRODUCTION_STACK) / "vllm-router"

        def command(place: Place) -> list[str]:
            models = ",".join([place.model] * len(place.upstreams))
            serve = [str(program), "--host", "127.0.0.1", "--port", str(place.port), "--log-level", "warning"]
            static = ["--service-discovery", "static", "--static-backends", ",".join(place.upstreams)]
            return [*serve, *static, "--static-models", models, "--routing-logic", logic, *options]

        return Program(command, PRODUCTION_STACK.version)

    return found


PEERS = (
    Peer("production-stack/prefixaware", find("prefixaware")),
    Peer(
        "production-stack/session",
        find("session", "--session-key", _SESSION_HEADER),
        modelled_by="session",
        session_header=_SESSION_HEADER,
    ),
    Peer("production-stack/roundrobin", find("roundrobin"), modelled_by="round_robin"),
)
