"""Classifiers by the names that virtual models use: those that come with the package, files that were trained, and those
that somebody else computes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import NamedTuple

import numpy as np

from balancer.config.classifier_entry import AskedModel, ClassifierEntry
from balancer.core.tiering.learned import Learned
from balancer.core.tiering.score import Length, Prior
from balancer.core.tiering.share import Calibrated
from balancer.core.tiering.types import Classifier, QualityFloor, VirtualModel
from balancer.learning.encoder import Encoder
from balancer.learning.files import Stored, WrongFile, load


@cache
def bundled(name: str) -> Classifier:
    """Raises: KeyError for a name that is none of them."""
    if name == Length.name:
        return Length()
    if name != Prior.name:
        raise KeyError(name)
    packed = files("balancer.core.tiering.score").joinpath("prior.npz").read_bytes()
    with np.load(BytesIO(packed), allow_pickle=False) as arrays:
        return Prior(arrays)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A classifier that has to be awaited. `asked` is who is asked over HTTP, and stands at `kind` in the settings; else
    `encoder` gives the vectors. `learned` is the router that reads them, where there are vectors.
    """

    kind: str
    asked: AskedModel | None
    key: str | None = field(repr=False)
    learned: Learned | None = None
    encoder: Encoder | None = None


class Classifiers(NamedTuple):
    """`stored` are those that are files, with what their training found out; `elsewhere` are not in `by_name`."""

    by_name: Mapping[str, Classifier]
    stored: Mapping[str, Stored]
    elsewhere: Mapping[str, Elsewhere]

    def calibrated(self, virtual: VirtualModel) -> Calibrated | None:
        """What the virtual model's quality floor needs by its classifier's calibration; None, where it has none."""
        stored, target = self.stored.get(virtual.classifier), virtual.target
        if stored is None or not isinstance(target, QualityFloor):
            return None
        step = stored.promise(target.floor).step
        return Calibrated(step.share, step.threshold)


def read(entries: Mapping[str, ClassifierEntry], environ: Mapping[str, str]) -> Classifiers:
    """`entries` by the names that virtual models call them; `environ` holds keys.

    Raises: OSError and WrongFile, of a file; BadData, of an encoder.
    """
    by_name: dict[str, Classifier] = {}
    stored: dict[str, Stored] = {}
    elsewhere: dict[str, Elsewhere] = {}
    for name, entry in entries.items():
        learned = None
        if entry.path is not None:
            stored[name] = load(entry.path)
            learned = stored[name].classifier(bundled(Prior.name))
            _fits(learned, stored[name], entry)
        kind, asked = entry.asked or ("encoder", None)
        encoder = None if entry.encoder is None else Encoder(entry.encoder)
        if asked is not None or encoder is not None:
            key = None if asked is None or asked.api_key_env is None else environ.get(asked.api_key_env)
            elsewhere[name] = Elsewhere(kind, asked, key, learned, encoder)
        else:
            by_name[name] = learned or bundled(entry.file or "")
    return Classifiers(by_name, stored, elsewhere)


def _fits(learned: Learned, stored: Stored, entry: ClassifierEntry) -> None:
    """Raises: WrongFile, where vectors are missing that the router reads, or are there for nobody."""
    if learned.needs_vector and entry.vectors is None:
        made_by = stored.metadata.vectors
        model = "" if made_by is None else f" of {made_by.model}"
        raise WrongFile(f"its router reads vectors{model}; say `embeddings` or `encoder` beside `file`")
    if entry.vectors is not None and not learned.needs_vector:
        raise WrongFile(f"its router reads words, and no vectors; `{entry.vectors}` beside it is for nothing")
