"""Which classifier a virtual model asks: one that comes with the balancer, a file, or a model that is asked over HTTP."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from balancer.config.group import Group
from balancer.config.kinds import Count, File, Name, Period, as_text
from balancer.config.urls import ReplicaUrl

BUNDLED = ("prior", "length")
"""Classifiers that come with the balancer; any other is a file."""

WAYS = ("file", "judge", "classify")
VECTORS = ("embeddings", "encoder")


class AskedModel(Group):
    url: ReplicaUrl
    """The server that has it, as a replica's URL: without `/v1`."""

    model: Name
    """The model's name there."""

    api_key_env: Name | None = None
    """The environment variable that holds its key."""

    timeout_s: Period = 1.0
    """How long a request waits for its score. Later ones are not known."""

    max_in_flight: Count = 64
    """Most requests that wait for it at once. What comes on top of that is not known."""


class ClassifyModel(AskedModel):
    label: Annotated[Name, BeforeValidator(as_text)] | None = None
    """The class of requests that need a strong model: its name, or its place from 0 on. Default: the last."""

    @property
    def place(self) -> str | int:
        if self.label is None:
            return -1
        return int(self.label) if self.label.isdecimal() else self.label


class ClassifierEntry(Group):
    file: Name | None = None
    """`prior`, `length`, or a file that `balancer tier train` wrote."""

    judge: Annotated[AskedModel, "model to ask"] | None = None
    """A chat model that rates from 1 to 5 how much a request needs a strong model."""

    classify: Annotated[ClassifyModel, "model to ask"] | None = None
    """A model behind vLLM's `/classify`."""

    embeddings: Annotated[AskedModel, "model to ask"] | None = None
    """Beside `file`: who gives the vectors that its router reads, at `/v1/embeddings`."""

    encoder: File | None = None
    """Beside `file`: the folder of the ONNX encoder that does, on this machine (the extra `encoder`). It is read at the start and
    with each reload, and not watched."""

    @property
    def key(self) -> str:
        """The same for the same, and of a file its name. Clients may see it: it tells no address."""
        if self.judge is None and self.classify is None and self.vectors is None:
            return self.file or ""
        kind = "judge" if self.judge else "classify" if self.classify else Path(self.file or "").stem
        return f"{kind}-{sha256(self.model_dump_json().encode()).hexdigest()[:8]}"

    @property
    def vectors(self) -> str | None:
        return next((name for name in VECTORS if getattr(self, name) is not None), None)

    @property
    def path(self) -> Path | None:
        """Of one that is a file."""
        return None if self.file is None or self.file in BUNDLED else Path(self.file)

    @property
    def asked(self) -> tuple[str, AskedModel] | None:
        """The model that is asked over HTTP, and the key that it stands at."""
        found = ((name, getattr(self, name)) for name in ("judge", "classify", "embeddings"))
        return next(((name, asked) for name, asked in found if asked is not None), None)

    def wrong(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """What its parts contradict each other in."""
        given = [name for name in WAYS if getattr(self, name) is not None]
        if len(given) != 1:
            yield (), f"one of {', '.join(WAYS)}"
        vectors = [name for name in VECTORS if getattr(self, name) is not None]
        for name in vectors[:1] if given != ["file"] or self.path is None else ():
            yield (name,), "a `file` beside it, of a router that reads vectors"
        kind, asked = self.asked or ("", None)
        if asked is not None and asked.url.endswith("/v1"):
            yield (kind, "url"), "a URL without `/v1`, as of a replica"
        for name in vectors[1:]:
            yield (name,), f"no {vectors[0]} beside it: one of them gives the vectors"

    def __str__(self) -> str:
        if self.asked is None:
            vectors = "" if self.encoder is None else f" on vectors of {self.encoder}"
            return f"`{self.file}`{vectors}"
        name, model = self.asked
        where = f"{model.model} at {model.url}"
        if name == "embeddings":
            return f"`{self.file}` on vectors of {where}"
        return f"{'judge' if name == 'judge' else 'class of'} {where}"


def from_name(value: Any) -> Any:
    """A name alone is a file, or one that comes with the balancer."""
    return {"file": value} if isinstance(value, str) else value


Classifier = Annotated[ClassifierEntry, "classifier's name, file or mapping", BeforeValidator(from_name)]
