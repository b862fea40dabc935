"""Lanes: several cells at once, each in a process on cores of its own with its own replicas, arm and client."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

import uvloop

from benchmarks.compare.journal import Row
from benchmarks.compare.kit import Kit, Lane
from benchmarks.compare.plan import Cell
from benchmarks.compare.run import InterruptedRunError, run_cells
from benchmarks.processes import NotServingError, raise_open_files, split_cores

_LEAST_CORES = 2


def lanes_on(cores: frozenset[int], count: int, folder: Path) -> list[Lane]:
    """Equal shares of neighbouring cores; what is left over is left idle. A lane alone takes whatever there is."""
    each = len(cores) // count
    if count > 1 and each < _LEAST_CORES:
        most = max(1, len(cores) // _LEAST_CORES)
        raise ValueError(f"--lanes: expected at most {most}, {_LEAST_CORES} cores each, got {count}")
    ordered = sorted(cores)
    lanes = []
    for number in range(count):
        share = ordered if count == 1 else ordered[number * each : (number + 1) * each]
        home = folder / f"lane-{number}"
        home.mkdir(parents=True)
        lanes.append(Lane(number, split_cores(frozenset(share)), home))
    return lanes


def run_lanes(
    cells: Sequence[Sequence[Cell]], kit: Kit, lanes: Sequence[Lane], write: Callable[[Row], None]
) -> bool:
    """Whether all was measured: False where somebody interrupted it. Raises: NotServingError, where the replicas failed."""
    raise_open_files()
    work = [(lane, each) for lane, each in zip(lanes, cells, strict=True) if each]
    if len(work) == 1:
        ((lane, each),) = work
        try:
            uvloop.run(run_cells(each, kit, lane, write))
        except (KeyboardInterrupt, InterruptedRunError):
            return False
        return True
    context = multiprocessing.get_context("spawn")
    children: list[multiprocessing.process.BaseProcess] = []
    ends: list[Connection] = []
    with _interrupts() as interrupts, contextlib.ExitStack() as stack:
        stack.callback(_interrupt, children)
        for lane, each in work:
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=_lane, args=(each, kit, lane, theirs))
            child.start()
            theirs.close()
            children.append(child)
            ends.append(ours)
        return _received(ends, children, write, interrupts)


def _received(
    ends: list[Connection],
    children: Sequence[multiprocessing.process.BaseProcess],
    write: Callable[[Row], None],
    interrupts: Connection,
) -> bool:
    """Rows as they come, until every lane has ended. An interruption is handed on, and what lanes still say is kept."""
    whole = True
    troubles: list[str] = []
    while ends:
        ready = wait([*ends, interrupts])
        for end in [end for end in ends if end in ready]:
            try:
                told: Row | str = end.recv()
            except EOFError:
                ends.remove(end)
                continue
            if isinstance(told, str):
                troubles.append(told)
            else:
                write(told)
        if interrupts in ready:
            interrupts.recv_bytes()
            whole = False
            _interrupt(children)
        if troubles and whole:
            whole = False
            _interrupt(children)
    for child in children:
        child.join()
    if troubles:
        raise NotServingError(troubles[0])
    return whole and all(child.exitcode == 0 for child in children)


@contextlib.contextmanager
def _interrupts() -> Iterator[Connection]:
    """Has something to read at SIGINT, which would else end the reading of a row half way."""
    told, telling = multiprocessing.Pipe(duplex=False)
    before = signal.signal(signal.SIGINT, lambda *_: telling.send_bytes(b"SIGINT"))
    try:
        yield told
    finally:
        signal.signal(signal.SIGINT, before)
        told.close()
        telling.close()


def _interrupt(children: Sequence[multiprocessing.process.BaseProcess]) -> None:
    for child in children:
        if child.is_alive() and child.pid is not None:
            os.kill(child.pid, signal.SIGINT)


def _lane(cells: Sequence[Cell], kit: Kit, lane: Lane, told: Connection) -> None:
    """A process group of its own: who interrupts the comparison from a terminal interrupts the parent alone."""
    os.setpgrp()
    os.sched_setaffinity(0, lane.cores.subject | lane.cores.others)
    try:
        uvloop.run(run_cells(cells, kit, lane, told.send))
    except (KeyboardInterrupt, InterruptedRunError):
        sys.exit(1)
    except NotServingError as error:
        told.send(f"lane {lane.number}: {error}")
        sys.exit(1)
