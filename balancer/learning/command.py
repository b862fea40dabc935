"""What `balancer tier train`, `evaluate` and `calibrate` do: files in, files and sentences out.

All raise BadData and files.WrongFile, which say what is wrong, and OSError where a file can't be read or written.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.learned import HEADS
from balancer.core.tiering.types import Classifier
from balancer.learning import calibrate, files, report
from balancer.learning.embeddings import embedded
from balancer.learning.encoder import Encoder
from balancer.learning.evaluate import SplitBy, completed, evaluate, judge
from balancer.learning.formats import read
from balancer.learning.metrics import FLOORS
from balancer.learning.prompts import Prompts, as_text, prompts
from balancer.learning.routers import ROUTERS, Fitted, Router
from balancer.learning.rows import BadData, Floats, Row, Table, table
from balancer.learning.splits import print_of
from balancer.learning.train import train

ON_PRIOR = "rows of the public benchmarks that the bundled prior learned from make these figures too good"
ON_WORDS = ("boosted", "ridge")
"""The kinds that can build on the bundled prior."""
REFUSED = 1
"""The exit code where all went well and the answer is that this must not be used."""


@dataclass(frozen=True, slots=True)
class Said:
    text: str
    code: int = 0


@dataclass(frozen=True, slots=True)
class Data:
    """Which files, and which models of them: see `rows.table`. `usd`: what a request costs at each, in their order."""

    paths: Sequence[Path]
    weak: Sequence[str] = ()
    strong: Sequence[str] = ()
    models: Sequence[str] = ()
    usd: Sequence[float] = ()

    def rows(self) -> tuple[list[Row], list[files.Source]]:
        found: list[Row] = []
        sources: list[files.Source] = []
        mistakes: list[str] = []
        for path in self.paths:
            try:
                rows = read(path)
            except BadData as error:
                mistakes += error.mistakes
                continue
            found += rows
            with path.open("rb") as file:
                sources.append(
                    files.Source(path.name, hashlib.file_digest(file, "sha256").hexdigest(), len(rows))
                )
        if mistakes:
            raise BadData(*mistakes)
        return found, sources

    def table(self, rows: Sequence[Row]) -> Table:
        return table(rows, self.weak, self.strong, self.models)

    def prices(self, models: Sequence[str]) -> dict[str, float]:
        if not self.usd:
            return {}
        if len(self.usd) != len(models) or min(self.usd) < 0 or self.usd[-1] <= 0:
            raise BadData(
                f"--usd: expected a price for each of {', '.join(models)}, in this order, the last above 0"
            )
        return dict(zip(models, self.usd, strict=True))


@dataclass(frozen=True, slots=True)
class Means:
    """What prompts are seen with: vectors of an endpoint or an encoder's folder, if not of hashed words; and, `on_prior` or for
    routers that were trained so, what the bundled prior says, which `bundled` gives.
    """

    url: str | None = None
    model: str = ""
    key: str | None = None
    encoder: Path | None = None
    on_prior: bool = False
    bundled: Callable[[], Classifier] | None = None

    def prior(self, wanted: bool) -> Classifier | None:
        return self.bundled() if wanted and self.bundled is not None else None

    def see(
        self, texts: Sequence[str], router: str, *, on_prior: bool
    ) -> tuple[Prompts, files.Vectors | None]:
        vectors, kind = self._vectors(texts) if HEADS[_router(router).head].reads_vector else (None, None)
        return prompts(texts, vectors=vectors, prior=self.prior(on_prior and router in ON_WORDS)), kind

    def _vectors(self, texts: Sequence[str]) -> tuple[NDArray[np.float32] | None, files.Vectors | None]:
        if self.url is not None and self.encoder is not None:
            raise BadData("expected either --embeddings or --encoder, not both")
        if self.url is not None:
            if not self.model:
                raise BadData("--embeddings needs --embeddings-model")
            found = embedded([as_text(text).last for text in texts], self.url, self.model, self.key)
            return found, files.Vectors("endpoint", self.model, found.shape[1])
        if self.encoder is not None:
            found = Encoder(self.encoder).vectors([as_text(text).last for text in texts])
            return found, files.Vectors("encoder", self.encoder.name, found.shape[1])
        return None, None


def run_train(
    data: Data,
    means: Means,
    out: Path,
    router: str,
    *,
    date: dt.date,
    split: SplitBy | None = None,
    seed: int = 0,
    force: bool = False,
    as_json: bool = False,
) -> Said:
    kind = _router(router)
    rows, sources = data.rows()
    known = data.table(rows)
    usd = data.prices(known.models)
    seen, vectors = means.see(known.prompts, router, on_prior=means.on_prior)
    if seen.prior is not None:
        known = replace(known, notes=(*known.notes, ON_PRIOR))
    trained = train(
        kind,
        seen,
        known,
        data=sources,
        date=date,
        split=split,
        seed=seed,
        usd=usd,
        vectors=vectors,
        force=force,
    )
    meta = trained.stored.metadata
    files.save(out, meta, trained.stored.arrays)
    code = 0 if meta.enabled else REFUSED
    if as_json:
        return Said(json.dumps({"file": str(out), **msgspec.to_builtins(meta)}), code)
    lines = [*_noted(meta.notes), report.as_text(trained.evaluation, usd, known.models)]
    lines += [
        report.floor_sentence(floor, found, out.stem)
        for floor, found in zip(FLOORS, trained.promises, strict=True)
    ]
    if not meta.enabled:
        lines.append(f"wrote {out}, not enabled: it will not be served. --force enables it")
    else:
        lines.append(f"wrote {out}" + (", enabled because it was forced" if meta.forced else ""))
    return Said("\n".join(lines), code)


def run_evaluate(
    data: Data,
    means: Means,
    router: str,
    *,
    split: SplitBy | None = None,
    seed: int = 0,
    as_json: bool = False,
) -> Said:
    """`router` is a kind, trained and judged on splits of the rows, or a file, judged on what it has not seen."""
    known = data.table(data.rows()[0])
    usd = data.prices(known.models)
    notes = list(known.notes)
    if router in ROUTERS or not router.endswith(".npz"):
        seen, _ = means.see(known.prompts, router, on_prior=means.on_prior)
        if seen.prior is not None:
            notes.append(ON_PRIOR)
        found = evaluate(_router(router), seen, known, split, seed)
    else:
        stored = files.load(Path(router))
        known, left_out = _unseen(known, stored, router)
        if left_out:
            notes.append(f"{left_out} rows left out: {router} was trained on them")
        seen, qualities = _judged(stored, known.prompts, means)
        if qualities.shape != known.quality.shape:
            raise BadData(
                f"{router} knows {len(stored.metadata.models)} models, the rows tell of {len(known.models)}"
            )
        found = judge(Path(router).stem, "rows it was not trained on", seen, known, qualities, seed)
    code = 0 if found.verdict.routable else REFUSED
    if as_json:
        return Said(json.dumps({**report.as_json(found, usd, known.models), "notes": notes}), code)
    return Said("\n".join([*_noted(notes), report.as_text(found, usd, known.models)]), code)


def run_share(data: Data, means: Means, path: Path, share: float, *, as_json: bool = False) -> Said:
    """Any prompts will do; those of its training say nothing, since it knows them too well."""
    if not 0 < share < 1:
        raise BadData(f"--strong-share: expected a number between 0 and 1, given {share:g}")
    stored = files.load(path)
    texts = [row.prompt for row in data.rows()[0]]
    trained = _trained(stored)
    texts = [text for text in texts if print_of(text) not in trained]
    if not texts:  # a score is the share of the rows held out in training that gain less
        return _by_training(stored, path.stem, share, as_json=as_json)
    scores, known = _scores(stored, texts, means)
    if not known.any():
        raise BadData(f"{path} can score none of these prompts")
    threshold = calibrate.threshold_for(scores[known], share)
    reached = float((scores[known] >= threshold).mean())
    if as_json:
        told = {"router": path.stem, "share": share, "threshold": threshold, "share_of_these": reached}
        return Said(json.dumps({**told, "rows": len(texts), "scored": int(known.sum())}))
    lines = [report.share_sentence(share, path.stem, threshold)]
    lines.append(
        f"{len(texts)} prompts that it was not trained on; {int(known.sum())} can be scored, {reached:.1%} reach it"
    )
    return Said("\n".join(lines))


def run_floor(data: Data, means: Means, path: Path, floor: float, *, as_json: bool = False) -> Said:
    """By rows that the router has not seen, or without rows by those that its training held out."""
    if not 0 < floor < 1:
        raise BadData(f"--quality-floor: expected a number between 0 and 1, given {floor:g}")
    stored = files.load(path)
    found, count = stored.metadata.calibration, stored.metadata.rows
    if data.paths:
        known, _ = _unseen(data.table(data.rows()[0]), stored, str(path))
        _, qualities = _judged(stored, known.prompts, means)
        true = completed(known, qualities)
        usable = ~np.isnan(true[:, 0]) & ~np.isnan(true[:, -1])
        scores, _ = _scores(stored, known.prompts, means)
        found, count = calibrate.steps(scores[usable], true[usable, 0], true[usable, -1]), int(usable.sum())
    promise = calibrate.promise(found, floor, count)
    if as_json:
        step = promise.step
        told = {
            "router": path.stem,
            "floor": floor,
            "threshold": step.threshold,
            "share": step.share,
            "kept": step.kept,
        }
        return Said(json.dumps({**told, "kept_at_least": step.low, "rows": count, "proven": promise.proven}))
    return Said(report.floor_sentence(floor, promise, path.stem))


def _by_training(stored: files.Stored, name: str, share: float, *, as_json: bool) -> Said:
    threshold, rows = 1 - share, stored.metadata.rows
    if as_json:
        told = {"router": name, "share": share, "threshold": threshold, "share_of_these": share}
        return Said(json.dumps({**told, "rows": rows, "scored": rows}))
    by = f"by the {rows} rows of its training, each scored by what had not seen it"
    return Said(f"{report.share_sentence(share, name, threshold)}\n{by}")


def _trained(stored: files.Stored) -> set[int]:
    return set(stored.arrays["trained"].tolist()) if "trained" in stored.arrays else set()


def _unseen(rows: Table, stored: files.Stored, name: str) -> tuple[Table, int]:
    """The rows that a router was not trained on, and how many others there were."""
    trained = _trained(stored)
    index = np.array(
        [i for i, text in enumerate(rows.prompts) if print_of(text) not in trained], dtype=np.intp
    )
    if not len(index):
        raise BadData(
            f"{name} was trained on all of these rows: judge it on others, or name its kind, {stored.metadata.router}"
        )
    return rows.take(index), len(rows) - len(index)


def _judged(stored: files.Stored, texts: Sequence[str], means: Means) -> tuple[Prompts, Floats]:
    meta = stored.metadata
    fitted = Fitted(meta.router, HEADS[meta.head].read(stored.arrays), stored.arrays)
    seen, vectors = means.see(texts, meta.router, on_prior=meta.prior)
    if (vectors and vectors.size) != (meta.vectors and meta.vectors.size):
        wanted = "hashed words" if meta.vectors is None else f"{meta.vectors.source} {meta.vectors.model}"
        raise BadData(f"this router reads vectors of {wanted}")
    return seen, fitted.qualities(seen)


def _scores(stored: files.Stored, texts: Sequence[str], means: Means) -> tuple[Floats, NDArray[np.bool_]]:
    """As it will score when it serves, and which it can score."""
    learned = stored.classifier(means.prior(stored.metadata.prior), disabled=True)
    views = [as_text(text) for text in texts]
    if learned.needs_vector:
        seen, _ = means.see(texts, stored.metadata.router, on_prior=False)
        if seen.vectors is None:
            raise BadData("this router reads vectors: name --embeddings or --encoder")
        scores = [learned.of_vector(text, vector) for text, vector in zip(views, seen.vectors, strict=True)]
    else:
        scores = [learned.score(text) for text in views]
    return np.array([score.value for score in scores]), np.array(
        [score.known for score in scores], dtype=bool
    )


def _router(kind: str) -> Router:
    if kind not in ROUTERS:
        raise BadData(
            f"--router: expected one of {', '.join(ROUTERS)}, or a file that ends in .npz, given {kind}"
        )
    return ROUTERS[kind]


def _noted(notes: Sequence[str]) -> list[str]:
    return [f"note: {note}" for note in notes]
