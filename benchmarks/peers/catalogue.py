"""All peers, and how they are named: `nginx/hash` is one policy, `nginx` all that are compared."""

from collections.abc import Sequence

from benchmarks.peers import (
    balancer,
    direct,
    dynamo,
    envoy,
    haproxy,
    litellm,
    nginx,
    production_stack,
    smg,
    vllm_router,
)
from benchmarks.peers.peer import Peer

PEERS = {
    peer.name: peer
    for module in (
        direct,
        balancer,
        vllm_router,
        smg,
        production_stack,
        dynamo,
        litellm,
        nginx,
        haproxy,
        envoy,
    )
    for peer in module.PEERS
}


def chosen(names: Sequence[str], option: str) -> list[Peer]:
    """Peers by name or by family, in the order of the names, each once."""
    found: dict[str, Peer] = {}
    for name in names:
        peers = {each.name: each for each in PEERS.values() if name in {each.name, each.family}}
        if not peers:
            raise ValueError(f"{option}: expected some of {', '.join(PEERS)}; got {name!r}")
        found |= peers
    return list(found.values())
