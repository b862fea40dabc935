"""What is measured: the balancer, its peers, and no balancer at all. An arm is a peer with the name that results keep."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import balancer, nginx, vllm_router
from benchmarks.peers.peer import Program, Tools


@dataclass(frozen=True, slots=True)
class Arm:
    """`find` raises UnavailableError; None is the direct way, with nothing to start."""

    name: str
    find: Callable[[Tools], Program] | None
    many_streams: bool = False

    @property
    def ours(self) -> bool:
        return self.name.startswith("balancer/") or self in OBSERVATION


def _aiohttp(_: Tools) -> Program:
    module = "benchmarks.overhead.aiohttp_proxy"
    return Program(lambda place: [sys.executable, "-m", module, str(place.port), *place.upstreams])


ARMS = (
    Arm("direct", None),
    Arm("balancer/round_robin", balancer.find("round_robin")),
    Arm("balancer/cache_aware", balancer.find("cache_aware"), many_streams=True),
    Arm("nginx", nginx.find(), many_streams=True),
    Arm("vllm-router/round_robin", vllm_router.find("round_robin")),
    Arm("vllm-router/cache_aware", vllm_router.find("cache_aware"), many_streams=True),
    Arm("aiohttp", _aiohttp),
)


def _watched(module: str, *options: str) -> Callable[[Tools], Program]:
    command = [sys.executable, "-m", module, "serve", "--host", "127.0.0.1", *options, "--port"]
    return lambda _: Program(lambda place: [*command, str(place.port), "--worker-urls", *place.upstreams])


_JOURNAL = ("--journal", str(Path(tempfile.gettempdir(), "benchmarks.journal")), "--journal-keep", "0")

OBSERVED = Arm("observed", _watched("balancer", "--access-log", "--log-format", "json", *_JOURNAL))
JOURNALED = Arm("journaled", _watched("balancer", *_JOURNAL))
COUNTED = Arm("counted", _watched("balancer"))
UNOBSERVED = Arm(
    "unobserved", _watched("benchmarks.overhead.unobserved", "--no-decision-headers", "--receipts", "0")
)
OBSERVATION = (OBSERVED, JOURNALED, COUNTED, UNOBSERVED)
"""The default policy with all that tells what happens, with metrics and the journal, with metrics alone, and with nothing of
it."""


def chosen(names: Sequence[str]) -> list[Arm]:
    """Arms by name, or by what stands before the slash; all where none is named."""
    if not names:
        return list(ARMS)
    known = {arm.name for arm in ARMS} | {arm.name.partition("/")[0] for arm in ARMS}
    for name in names:
        if name not in known:
            raise ValueError(f"--arms: expected some of {', '.join(arm.name for arm in ARMS)}; got {name!r}")
    return [arm for arm in ARMS if arm.name in names or arm.name.partition("/")[0] in names]
