"""Classifiers that come with the package."""

from functools import cache
from importlib.resources import files
from io import BytesIO

import numpy as np

from balancer.core.tiering.score import Length, Prior
from balancer.core.tiering.types import Classifier

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
