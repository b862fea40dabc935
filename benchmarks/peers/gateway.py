"""The command line that vllm-router, smg and sglang-router share, since they come from one source."""

from collections.abc import Sequence

from benchmarks.peers.peer import Place
from benchmarks.processes import free_ports


def gateway_command(program: Sequence[str], place: Place, policy: str, *, log_level: str) -> list[str]:
    (metrics_port,) = free_ports(1)
    listen = ["--host", "127.0.0.1", "--port", str(place.port)]
    metrics = ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics_port)]
    chosen = ["--policy", policy, "--log-level", log_level]
    return [*program, *listen, *metrics, *chosen, "--worker-urls", *place.upstreams]
