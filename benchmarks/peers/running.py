"""A peer as a running process that serves."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.peers.peer import Place, Program
from benchmarks.processes import Child, started, wait_serving


@dataclass(frozen=True, slots=True)
class Running:
    """Where clients ask, and the process to account for; the direct way has none."""

    url: str
    child: Child | None


@contextlib.contextmanager
def running(program: Program | None, place: Place, cores: frozenset[int]) -> Iterator[Running]:
    """Raises: NotServingError, also from inside the block where the peer ended meanwhile."""
    if program is None:
        yield Running(place.upstreams[0], None)
        return
    with started(program.command(place), cores=cores, log=place.folder / "peer.log") as child:
        wait_serving(child, place.port)
        yield Running(f"http://127.0.0.1:{place.port}", child)
        child.expect_running("while it was asked")
