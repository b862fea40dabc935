"""Shepherd Model Gateway and its ancestor, SGLang's router, both in Rust."""

from collections.abc import Callable

from benchmarks.peers.environment import installed
from benchmarks.peers.gateway import gateway_command
from benchmarks.peers.peer import Peer, Program, Tools
from benchmarks.peers.pins import SGLANG_ROUTER, SMG, Pin


def _find(pin: Pin, policy: str) -> Callable[[Tools], Program]:
    def found(tools: Tools) -> Program:
        program = [str(installed(tools, pin) / "smg"), "launch"]
        return Program(lambda place: gateway_command(program, place, policy, log_level="warn"), pin.version)

    return found


PEERS = (
    Peer("smg/cache_aware", _find(SMG, "cache_aware"), modelled_by="sglang_cache_aware"),
    Peer(
        "smg/consistent_hashing",
        _find(SMG, "consistent_hashing"),
        modelled_by="session",
        session_header="X-SMG-Routing-Key",
    ),
    Peer("smg/least_load", _find(SMG, "least_load")),
    Peer("smg/power_of_two", _find(SMG, "power_of_two"), modelled_by="power_of_two"),
    Peer("smg/prefix_hash", _find(SMG, "prefix_hash")),
    Peer("smg/round_robin", _find(SMG, "round_robin"), modelled_by="round_robin"),
    Peer("sglang-router/cache_aware", _find(SGLANG_ROUTER, "cache_aware"), modelled_by="sglang_cache_aware"),
)
