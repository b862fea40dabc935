"""Costs from measured figures: non-negative least squares of relative errors. Pure.

The calls of a point to fit on arrive at once and are alike, so the order of an engine's steps does not depend on the
costs: every figure is a sum of step times, linear in the costs and without a constant part.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from benchmarks.calibration.modelled import Costs, Setting, modelled
from benchmarks.calibration.points import Point, figures

_Array = npt.NDArray[np.float64]

_SOME = Costs(5e-3, 1e-4, 1e-9, 1e-4, 1e-8, 5e-3, 1e-6)
"""Any that are not zero: where the slopes are read."""


def fit(points: Iterable[Point], measured: Mapping[str, Mapping[str, float]], setting: Setting) -> Costs:
    """`measured` has figures by point; only points that are not held out are looked at."""
    chosen = [point for point in points if not point.held_out and point.name in measured]
    targets = [(point.name, name, value) for point in chosen for name, value in measured[point.name].items()]
    if len(targets) < len(_SOME):
        raise ValueError(f"expected at least {len(_SOME)} figures to fit on, got {len(targets)}")
    slopes = _slopes(chosen, setting)
    rows = np.array([slopes[point, name] / value for point, name, value in targets])
    return Costs(*map(float, non_negative_least_squares(rows, np.ones(len(rows)))))


def non_negative_least_squares(rows: _Array, target: _Array) -> _Array:
    """Exact: the best of all choices of columns whose plain least squares are not negative; columns are few."""
    columns = rows.shape[1]
    scale = np.linalg.norm(rows, axis=0)
    scale[scale == 0] = 1.0
    best, best_error = np.zeros(columns), float(target @ target)
    for size in range(1, columns + 1):
        for chosen in map(list, combinations(range(columns), size)):
            part = rows[:, chosen] / scale[chosen]
            solved = np.linalg.lstsq(part, target, rcond=None)[0]
            error = float(np.sum((part @ solved - target) ** 2))
            if solved.min() >= 0 and error < best_error:
                best_error = error
                best = np.zeros(columns)
                best[chosen] = solved / scale[chosen]
    return best


def _slopes(points: Sequence[Point], setting: Setting) -> dict[tuple[str, str], _Array]:
    """By point and figure: how much it grows with each cost."""
    plain = _all_figures(points, _SOME, setting)
    slopes = {key: np.zeros(len(_SOME)) for key in plain}
    for index, (field, cost) in enumerate(_SOME._asdict().items()):
        doubled = _all_figures(points, _SOME._replace(**{field: 2 * cost}), setting)
        for key, value in doubled.items():
            slopes[key][index] = (value - plain[key]) / cost
    return slopes


def _all_figures(points: Sequence[Point], costs: Costs, setting: Setting) -> dict[tuple[str, str], float]:
    return {
        (point.name, name): value
        for point in points
        for name, value in figures(point.kind, modelled(point, costs, setting).courses).items()
    }
