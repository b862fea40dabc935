"""Running the generators, one at a time, each round in another order."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare.order import orders
from benchmarks.crosscheck.figures import row
from benchmarks.crosscheck.generator import Address, Generator, Report
from benchmarks.crosscheck.load import Load
from benchmarks.processes import NotServingError

_LONGER_S = 300.0
"""What a generator may take beyond its load: to start, to wait for the last answers, to write its report."""


def run(generator: Generator, load: Load, address: Address, folder: Path) -> Report:
    """Raises: NotServingError, if it does not come to its end with every request answered."""
    folder.mkdir()
    log = folder / "log.txt"
    within_s = load.due_s[-1] + _LONGER_S
    try:
        with log.open("wb") as output:
            ended = subprocess.run(
                generator.command(load, address, folder),
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
    if report.completed != len(load.prompts):
        raise NotServingError(
            f"{generator.name}: {report.completed} of {len(load.prompts)} requests answered"
        )
    return report


def rounds(
    generators: Sequence[Generator],
    load: Load,
    address: Address,
    count: int,
    folder: Path,
    advance: Callable[[str], None],
) -> dict[str, list[dict[str, Any]]]:
    """The rows of each generator, a round each. Each run's prompts are new to the target's prefix cache."""
    by_name = {generator.name: generator for generator in generators}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in by_name}
    for number, order in enumerate(orders(list(by_name), count, load.seed)):
        for place, name in enumerate(order):
            advance(f"round {number + 1}: {name}")
            here = number * len(by_name) + place
            report = run(by_name[name], load.of_run(here), address, folder / f"run-{here}")
            rows[name].append(row(report, load.due_s))
    return rows
