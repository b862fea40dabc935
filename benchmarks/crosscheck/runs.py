"""Running the generators, one at a time, each round in another order."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare.order import orders
from benchmarks.crosscheck.figures import row
from benchmarks.crosscheck.generator import Generator, Report
from benchmarks.crosscheck.load import Load
from benchmarks.load.target import Target
from benchmarks.processes import NotServingError

_LONGER_S = 300.0
"""What a generator may take beyond its load: to start, to wait for the last answers, to write its report."""
_LEAST_SHARE = 0.98
"""Of the requests that a report must be of: GuideLLM leaves one out now and then, which was answered."""


def run(generator: Generator, load: Load, target: Target, folder: Path) -> Report:
    """Raises: NotServingError, if it does not come to its end with its requests answered."""
    folder.mkdir()
    log = folder / "log.txt"
    within_s = load.due_s[-1] + _LONGER_S
    try:
        with log.open("wb") as output:
            ended = subprocess.run(
                generator.command(load, target, folder),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=within_s,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise NotServingError(f"{generator.name}: did not end within {within_s:.0f} s") from error
    if ended.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        raise NotServingError(f"{generator.name}: exit status {ended.returncode}: {' / '.join(last)}")
    try:
        report = generator.read(folder)
    except (OSError, ValueError, LookupError) as error:
        raise NotServingError(
            f"{generator.name}: no report of the kind that was expected: {error!r}"
        ) from error
    if report.completed < _LEAST_SHARE * len(load.prompts):
        raise NotServingError(
            f"{generator.name}: {report.completed} of {len(load.prompts)} requests answered"
        )
    return report


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rows of each generator, a round each, and why those have none that failed in one."""

    rows: dict[str, list[dict[str, Any]]]
    failures: dict[str, str]


def rounds(
    generators: Sequence[Generator],
    load: Load,
    target: Target,
    count: int,
    folder: Path,
    advance: Callable[[str], None],
) -> Rounds:
    """Each run's prompts are new to the target's prefix cache. A generator that failed is not asked again."""
    by_name = {generator.name: generator for generator in generators}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in by_name}
    failures: dict[str, str] = {}
    for number, order in enumerate(orders(list(by_name), count, load.seed)):
        for place, name in enumerate(order):
            advance(f"round {number + 1}: {name}")
            if name in failures:
                continue
            here = number * len(by_name) + place
            try:
                report = run(by_name[name], load.of_run(here), target, folder / f"run-{here}")
            except NotServingError as error:
                failures[name] = str(error)
            else:
                rows[name].append(row(report, load.due_s))
    return Rounds({name: found for name, found in rows.items() if name not in failures}, failures)
