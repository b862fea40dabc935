"""No balancer at all: clients ask the first replica."""

from benchmarks.peers.peer import Peer

PEERS = (Peer("direct", None),)
