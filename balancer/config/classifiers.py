"""Classifiers by the names that virtual models use: those that come with the package, and files that were trained."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from balancer.core.tiering.score import Length, Prior
from balancer.core.tiering.share import Calibrated
from balancer.core.tiering.types import Classifier, QualityFloor, VirtualModel
from balancer.learning.files import Stored, load

BUNDLED = (Prior.name, Length.name)


@cache
def bundled(name: str) -> Classifier:
    """Raises: KeyError for a name that is not of BUNDLED."""
    if name == Length.name:
        return Length()
    if name != Prior.name:
        raise KeyError(name)
    packed = files("balancer.core.tiering.score").joinpath("prior.npz").read_bytes()
    with np.load(BytesIO(packed), allow_pickle=False) as arrays:
        return Prior(arrays)


class Classifiers(NamedTuple):
    """`stored` are those that are files, with what their training found out."""

    by_name: Mapping[str, Classifier]
    stored: Mapping[str, Stored]

    def calibrated(self, virtual: VirtualModel) -> Calibrated | None:
        """What the virtual model's quality floor needs by its classifier's calibration; None, where it has none."""
        stored, target = self.stored.get(virtual.classifier), virtual.target
        if stored is None or not isinstance(target, QualityFloor):
            return None
        step = stored.promise(target.floor).step
        return Calibrated(step.share, step.threshold)


def read(names: Iterable[str]) -> Classifiers:
    """Raises: WrongFile, OSError."""
    by_name: dict[str, Classifier] = {}
    stored: dict[str, Stored] = {}
    for name in names:
        if name in BUNDLED:
            by_name[name] = bundled(name)
        else:
            stored[name] = load(Path(name))
            by_name[name] = stored[name].classifier(bundled(Prior.name))
    return Classifiers(by_name, stored)
