"""The nouns of a comparison: a peer, how it is found here, and where it is to listen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SESSION_HEADER = "X-Session-ID"
"""What most peers are told to read, or read anyhow."""


class UnavailableError(Exception):
    """A peer that this machine does not have; the message says why."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Where peers are found: `vllm_router` names a program, else it is looked for below `peer_dir`, where peers that are
    not there yet are installed, unless `install` forbids it.
    """

    peer_dir: Path
    vllm_router: Path | None = None
    install: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer listens, whom it serves, and a folder for its files. `model` is for peers that must be told it.

    The last two are for peers that bring replicas of their own: what each remembers at the whole size, and how many tokens
    one token stands for.
    """

    port: int
    upstreams: Sequence[str]
    folder: Path
    model: str = ""
    kv_capacity_tokens: int | None = None
    scale: int = 1


@dataclass(frozen=True, slots=True)
class Program:
    """A peer that can be started here."""

    command: Callable[[Place], list[str]]
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """One policy of one peer, named `family/policy`.

    `find` raises UnavailableError; None is the direct way, with nothing to start. `modelled_by` is the simulator's arm that
    stands for it. `session_header`: its clients name their session there, since the policy needs it. `own_replicas`: it can't
    stand before the replicas of the others, and its figures are of modelled engines that it starts itself, as many as there
    are upstreams.
    """

    name: str
    find: Callable[[Tools], Program] | None
    modelled_by: str | None = None
    session_header: str | None = None
    own_replicas: bool = False

    @property
    def family(self) -> str:
        return self.name.partition("/")[0]

    @property
    def ours(self) -> bool:
        return self.family == "balancer"
