"""HAProxy, as the system has it."""

from collections.abc import Callable

from benchmarks.peers.environment import system_program, told_version
from benchmarks.peers.peer import SESSION_HEADER, Peer, Place, Program, Tools


def find(balance: str) -> Callable[[Tools], Program]:
    def found(_: Tools) -> Program:
        program = str(system_program("haproxy"))

        def command(place: Place) -> list[str]:
            config = place.folder / "haproxy.cfg"
            config.write_text(haproxy_config(place, balance), encoding="utf-8")
            return [program, "-db", "-q", "-f", str(config)]

        return Program(command, told_version((program, "-v"), r"version (\S+)"))

    return found


def haproxy_config(place: Place, balance: str) -> str:
    servers = "".join(
        f"  server replica{number} {url.removeprefix('http://')}\n"
        for number, url in enumerate(place.upstreams)
    )
    return f"""global
  maxconn 8192
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  option http-no-delay
  http-reuse always
frontend clients
  bind 127.0.0.1:{place.port} backlog 4096
  default_backend replicas
backend replicas
  balance {balance}
  hash-type consistent
{servers}"""


PEERS = (
    Peer("haproxy/roundrobin", find("roundrobin"), modelled_by="round_robin"),
    Peer("haproxy/leastconn", find("leastconn"), modelled_by="least_requests"),
    Peer(
        "haproxy/hash",
        find(f"hdr({SESSION_HEADER})"),
        modelled_by="session",
        session_header=SESSION_HEADER,
    ),
)
