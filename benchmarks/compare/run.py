"""The running of cells, one after another, in one lane: the same replicas all the time, a fresh arm before them for each cell."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from benchmarks.compare.journal import Row
from benchmarks.compare.kit import Kit, Lane, Replicas
from benchmarks.compare.knee import Knee, Level, Point, point, search
from benchmarks.compare.plan import Cell
from benchmarks.compare.samples import samples
from benchmarks.processes import NotServingError, pinned
from benchmarks.workloads.script import Script

KNEE_SEED = 1_000_000
"""Scripts of the search for a knee are none of the comparison's."""


class InterruptedRunError(Exception):
    """Somebody ended a cell before its time; what it had is not kept."""


async def run_cells(cells: Iterable[Cell], kit: Kit, lane: Lane, write: Callable[[Row], None]) -> None:
    """Each cell is written when it is done. One whose arm fails is written with the reason, and the next one is begun."""
    with pinned(lane.client):
        async with kit.replicas(lane) as fleet:
            scripts = _Scripts(kit, fleet)
            for cell in cells:
                script = await scripts.of(cell)
                write(
                    {
                        **asdict(cell),
                        "digest": script.digest(),
                        **await _measured(cell, script, kit, fleet, lane),
                    }
                )


async def find_knee(workload: str, arm: str, guess: float, level: Level, kit: Kit, lane: Lane) -> Knee:
    """By runs of `arm`, each with cold caches and a script of its own. Raises: NotServingError, ValueError."""
    with pinned(lane.client):
        async with kit.replicas(lane) as fleet:
            runs = 0

            async def measure(rate: float) -> Point:
                nonlocal runs
                runs += 1
                cell = Cell(workload, 1.0, runs, arm, rate, KNEE_SEED + runs)
                script = await kit.script(cell, fleet)
                await fleet.reset()
                async with kit.front(arm, fleet, lane) as front:
                    played = await front.play(script)
                if played.interrupted:
                    raise InterruptedRunError
                return point(rate, played.records, *_window(played.stages.values()))

            return await search(measure, level, guess)


async def _measured(cell: Cell, script: Script, kit: Kit, fleet: Replicas, lane: Lane) -> dict[str, Any]:
    try:
        async with kit.front(cell.arm, fleet, lane) as front:
            await fleet.reset()
            await front.begun()
            played = await front.play(script)
            if played.interrupted:
                raise InterruptedRunError
            figures = await front.measured(played)
    except NotServingError as error:
        return {"trouble": str(error), "valid": False}
    start_s, end_s = _window(played.stages.values())
    return {**figures, "trouble": None, "samples": samples(played.records, start_s, end_s)}


class _Scripts:
    """Made once for all arms of a block, which follow one another."""

    def __init__(self, kit: Kit, fleet: Replicas) -> None:
        self._kit = kit
        self._fleet = fleet
        self._made: tuple[tuple[str, float, int], Script] | None = None

    async def of(self, cell: Cell) -> Script:
        which = cell.workload, cell.rate, cell.seed
        if self._made is None or self._made[0] != which:
            self._made = None
            self._made = which, await self._kit.script(cell, self._fleet)
        return self._made[1]


def _window(stages: Iterable[tuple[float, float]]) -> tuple[float, float]:
    windows = list(stages)
    return min(start_s for start_s, _ in windows), max(end_s for _, end_s in windows)
