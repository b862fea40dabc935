"""The bundled prior on benchmarks that it never met: a whole family held out, the setting chosen on inner splits.

For each family the setting is the one of GRID with the best mean APGR over the sources of the other families, each scored
by a fit without its own family and without the one held out. So no label of a family, and no choice made on one, is in
what scores it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Final

import numpy as np

from balancer.core.tiering.score.ridge import Doubles, Rows
from balancer.learning.metrics import curve
from benchmarks.tiers.data import TESTED_ONLY, Data
from benchmarks.tiers.fitting import Fitted, Index, Setting, fit

GRID: Final = tuple(Setting(*each) for each in product((0.25, 0.5, 1.0), (0.0,), (0.0, 0.12)))
"""Wider grids were tried on the inner splits: what they add is chosen by luck, and lost on the family that is held out."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """By family: the fit without it, the setting, and what that setting has on the inner splits. `whole` is the fit of all that
    may be trained on, `shipped` the setting that the inner splits of all of it chose.
    """

    members: Mapping[str, Fitted]
    whole: Fitted
    settings: Mapping[str, Setting]
    inner: Mapping[str, float]
    shipped: Setting

    def raw(self, data: Data, rows: Rows, source: str) -> Doubles:
        here = data.of(source)
        family = str(data.families[here[0]])
        fitted = self.members.get(family, self.whole)
        return self.settings.get(family, self.shipped).raw(fitted, rows.take(here))

    def percentiles(self, data: Data, rows: Rows, source: str) -> Doubles:
        """Its scores among those of the other families, in [0, 1]."""
        family = str(data.families[data.of(source)[0]])
        fitted = self.members.get(family, self.whole)
        setting = self.settings.get(family, self.shipped)
        seen = np.sort(setting.raw(fitted, rows.take(data.without([family])[::7])))
        return np.searchsorted(seen, self.raw(data, rows, source)) / len(seen)


def hold_out(data: Data, rows: Rows, step: Callable[[str], None]) -> HeldOut:
    families = sorted({str(one) for one in data.families} - {TESTED_ONLY})
    areas: dict[tuple[Setting, str, str], float] = {}  # setting, family that is held out, source
    for first, second in combinations(families, 2):
        step(f"without {first} and {second}")
        fitted = fit(data, rows, data.without([first, second]))
        for held, other in ((first, second), (second, first)):
            for source in np.unique(data.sources[data.families == other]):
                for setting, area in _areas(data, rows, data.of(source), fitted).items():
                    areas[setting, held, str(source)] = area
    members = {}
    for family in families:
        step(f"without {family}")
        members[family] = fit(data, rows, data.without([family]))
    step("all")
    whole = fit(data, rows, data.without([]))
    found = {family: _best(areas, [family]) for family in families}
    return HeldOut(
        members,
        whole,
        {family: setting for family, (setting, _) in found.items()},
        {family: area for family, (_, area) in found.items()},
        _best(areas, families)[0],
    )


def steps(data: Data) -> int:
    count = len({str(one) for one in data.families} - {TESTED_ONLY})
    return count * (count - 1) // 2 + count + 1


def _areas(data: Data, rows: Rows, here: Index, fitted: Fitted) -> dict[Setting, float]:
    words, shape = fitted.parts(rows.take(here))
    weak, strong = data.weak[here], data.strong[here]
    return {
        setting: curve(words + shape @ setting.coefficients(fitted), weak, strong).apgr for setting in GRID
    }


def _best(areas: Mapping[tuple[Setting, str, str], float], held: Sequence[str]) -> tuple[Setting, float]:
    means = {
        setting: float(
            np.mean([area for (of, family, _), area in areas.items() if of == setting and family in held])
        )
        for setting in GRID
    }
    best = max(means, key=lambda setting: means[setting])
    return best, means[best]
