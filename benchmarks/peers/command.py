"""The command `peers`: who can be compared here, installed and checked on demand. No measuring lives here."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.fleets import Fleet, embedded
from benchmarks.peers.catalogue import PEERS, chosen
from benchmarks.peers.check import QUESTIONS, HarmedError, check
from benchmarks.peers.environment import DEFAULT_PEER_DIR, PeerDir
from benchmarks.peers.peer import Peer, Place, Program, Tools, UnavailableError
from benchmarks.peers.running import running
from benchmarks.processes import NotServingError, all_cores, free_ports
from benchmarks.report import Table, console

_REPLICAS = 3
_PROFILE = "tiny"


def peers(
    names: Annotated[
        list[str] | None, typer.Argument(help="A peer, or one policy as peer/policy; all unless told.")
    ] = None,
    *,
    install: Annotated[bool, typer.Option("--install", help="Install those that are not there yet.")] = False,
    prove: Annotated[
        bool,
        typer.Option(
            "--check", help="Ask each whole and streamed chats, over three embedded replicas; exit 1 on harm."
        ),
    ] = False,
    peer_dir: PeerDir = DEFAULT_PEER_DIR,
) -> None:
    """Who can be compared here, and why others can't."""
    try:
        wanted = chosen(names or list(PEERS), "NAMES")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    tools = Tools(peer_dir.expanduser(), install=install)
    programs: dict[Peer, Program | None] = {}
    states: dict[Peer, str] = {}
    for peer in wanted:
        try:
            programs[peer] = peer.find(tools) if peer.find else None
            states[peer] = "here"
        except UnavailableError as error:
            states[peer] = str(error)
    harms = _harms(programs) if prove else {}
    if prove:
        states |= dict.fromkeys(programs, f"{2 * QUESTIONS} of {2 * QUESTIONS} answers right")
    _table(wanted, programs, states | harms).print(console(170))
    if harms:
        raise typer.Exit(1)


def _harms(programs: Mapping[Peer, Program | None]) -> dict[Peer, str]:
    """What went wrong with whom."""
    harms = {}
    with (
        tempfile.TemporaryDirectory(prefix="bench-peers-") as name,
        embedded(_REPLICAS, _PROFILE, Path(name)) as fleet,
    ):
        for peer, program in programs.items():
            folder = Path(name) / peer.name.replace("/", "-")
            folder.mkdir()
            try:
                _prove(peer, program, fleet, folder)
            except (HarmedError, NotServingError) as error:
                harms[peer] = str(error)
    return harms


def _prove(peer: Peer, program: Program | None, fleet: Fleet, folder: Path) -> None:
    (port,) = free_ports(1)
    place = Place(port, fleet.urls, folder, fleet.model)
    with running(program, place, all_cores()) as served:
        asyncio.run(check(peer, served.url, fleet.urls[0], fleet.model))


def _table(wanted: list[Peer], programs: Mapping[Peer, Program | None], states: Mapping[Peer, str]) -> Table:
    rows = []
    for peer in wanted:
        program = programs.get(peer)
        version = program.version if program else None
        rows.append((peer.name, version, peer.modelled_by, peer.session_header, states[peer]))
    return Table("Peers", ("peer", "version", "modelled by", "session header", "state"), rows)
