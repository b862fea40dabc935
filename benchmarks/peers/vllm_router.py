"""vLLM's router, written in Rust."""

from collections.abc import Callable

from benchmarks.peers.environment import installed, package_version
from benchmarks.peers.gateway import gateway_command
from benchmarks.peers.peer import SESSION_HEADER, Peer, Program, Tools
from benchmarks.peers.pins import VLLM_ROUTER


def find(policy: str) -> Callable[[Tools], Program]:
    def found(tools: Tools) -> Program:
        if tools.vllm_router is not None:
            program = tools.vllm_router
            version = package_version(program.parent / "python", VLLM_ROUTER.name)
        else:
            program = installed(tools, VLLM_ROUTER) / "vllm-router"
            version = VLLM_ROUTER.version
        return Program(
            lambda place: gateway_command([str(program)], place, policy, log_level="warning"), version
        )

    return found


PEERS = (
    Peer("vllm-router/cache_aware", find("cache_aware"), modelled_by="sglang_cache_aware"),
    Peer(
        "vllm-router/consistent_hash",
        find("consistent_hash"),
        modelled_by="session",
        session_header=SESSION_HEADER,
    ),
    Peer("vllm-router/power_of_two", find("power_of_two"), modelled_by="power_of_two"),
    Peer("vllm-router/round_robin", find("round_robin"), modelled_by="round_robin"),
)
