"""The commands of `balancer tier` that train, judge and calibrate routers: no logic here, and nothing heavy before one runs."""

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from balancer.core.tiering.types import Classifier
    from balancer.learning.command import Data, Means, Said

WRONG_DATA = 2
_Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="DATA...", help="Labelled requests: JSON lines or CSV, also .gz.", show_default=False
    ),
]
_Weak = Annotated[
    list[str] | None,
    typer.Option(
        "--weak", metavar="MODEL", help="The weak model, as the rows name it. Several are averaged."
    ),
]
_Strong = Annotated[
    list[str] | None,
    typer.Option(
        "--strong", metavar="MODEL", help="The strong model, as the rows name it. Several are averaged."
    ),
]
_Models = Annotated[
    str | None,
    typer.Option(
        "--models", metavar="A,B,...", help="More than two models, the weakest first and the strongest last."
    ),
]
_Usd = Annotated[
    str | None,
    typer.Option(
        "--usd", metavar="X,Y,...", help="What a request costs at each model, in the order of the models."
    ),
]
_Url = Annotated[
    str | None,
    typer.Option(
        "--embeddings", metavar="URL", help="An OpenAI-compatible address (.../v1) that gives vectors."
    ),
]
_EmbeddingsModel = Annotated[str, typer.Option("--embeddings-model", metavar="MODEL", help="Its model.")]
_KeyEnv = Annotated[
    str | None,
    typer.Option("--embeddings-key-env", metavar="NAME", help="The environment variable that holds its key."),
]
_Encoder = Annotated[
    Path | None,
    typer.Option(
        "--encoder", metavar="DIR", help="A folder with model.onnx and tokenizer.json that gives vectors."
    ),
]
_Prior = Annotated[
    bool,
    typer.Option(
        "--prior",
        help="Build a boosted router or a ridge on the bundled prior, which is worth about a hundred labels.",
    ),
]
_Seed = Annotated[int, typer.Option("--seed", min=0, help="Of splits and draws.")]
_Json = Annotated[bool, typer.Option("--json", help="The numbers, as JSON.")]


class Kind(StrEnum):
    """`learning.routers.ROUTERS`, which is not imported before it is needed."""

    BOOSTED = "boosted"
    RIDGE = "ridge"
    LOGISTIC = "logistic"
    MF = "mf"
    KNN = "knn"
    SW = "sw"


class Split(StrEnum):
    DOMAINS = "domains"
    FOLDS = "folds"


_SplitBy = Annotated[
    Split | None,
    typer.Option(
        "--split",
        help="What is held out to judge: one domain at a time (default where the rows name three or more), or folds,"
        " if new requests will be of the same kinds as these.",
        show_default=False,
    ),
]


def add_to(app: typer.Typer) -> None:
    app.command("train")(_train)
    app.command("evaluate")(_evaluate)
    app.command("calibrate")(_calibrate)


def _train(
    data: _Files,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The router's file (.npz).")],
    router: Annotated[Kind, typer.Option("--router", help="The kind of router.")] = Kind.BOOSTED,
    weak: _Weak = None,
    strong: _Strong = None,
    models: _Models = None,
    usd: _Usd = None,
    split: _SplitBy = None,
    embeddings: _Url = None,
    embeddings_model: _EmbeddingsModel = "",
    embeddings_key_env: _KeyEnv = None,
    encoder: _Encoder = None,
    prior: _Prior = False,
    date: Annotated[
        str | None,
        typer.Option("--date", metavar="YYYY-MM-DD", help="What the file says of when. Default: today."),
    ] = None,
    seed: _Seed = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Enable it even if it can't be shown to help.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Train a router on labelled requests, judge it on what it has not seen, and write it; enabled only if it helps."""
    _alone()
    import datetime as dt  # noqa: PLC0415

    from balancer.learning.command import run_train  # noqa: PLC0415
    from balancer.learning.evaluate import SplitBy  # noqa: PLC0415

    try:
        day = dt.datetime.now().astimezone().date() if date is None else dt.date.fromisoformat(date)
    except ValueError:
        raise typer.BadParameter(f"expected a day as YYYY-MM-DD, given {date}", param_hint="--date") from None
    _finish(
        lambda: run_train(
            _data(data, weak, strong, models, usd),
            _means(embeddings, embeddings_model, embeddings_key_env, encoder, prior=prior),
            out,
            router.value,
            date=day,
            split=None if split is None else SplitBy(split.value),
            seed=seed,
            force=force,
            as_json=as_json,
        )
    )


def _evaluate(
    data: _Files,
    router: Annotated[
        str,
        typer.Option("--router", metavar="KIND|FILE", help="A kind, trained on splits; or a trained file."),
    ] = Kind.BOOSTED.value,
    weak: _Weak = None,
    strong: _Strong = None,
    models: _Models = None,
    usd: _Usd = None,
    split: _SplitBy = None,
    embeddings: _Url = None,
    embeddings_model: _EmbeddingsModel = "",
    embeddings_key_env: _KeyEnv = None,
    encoder: _Encoder = None,
    prior: _Prior = False,
    seed: _Seed = 0,
    as_json: _Json = False,
) -> None:
    """Judge a router on rows that it has not seen, beside prompt length, chance and an oracle; exit 1 if it doesn't help."""
    _alone()
    from balancer.learning.command import run_evaluate  # noqa: PLC0415
    from balancer.learning.evaluate import SplitBy  # noqa: PLC0415

    _finish(
        lambda: run_evaluate(
            _data(data, weak, strong, models, usd),
            _means(embeddings, embeddings_model, embeddings_key_env, encoder, prior=prior),
            router,
            split=None if split is None else SplitBy(split.value),
            seed=seed,
            as_json=as_json,
        )
    )


def _calibrate(
    router: Annotated[Path, typer.Argument(metavar="FILE", help="A trained router.", show_default=False)],
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DATA...]",
            help="Prompts, for a share; rows it has not seen, for a floor.",
            show_default=False,
        ),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            "--strong-share",
            "--strong-model-pct",
            metavar="X",
            help="The share of calls of the strong model.",
        ),
    ] = None,
    floor: Annotated[
        float | None,
        typer.Option("--quality-floor", metavar="X", help="The part of the strong model's quality to keep."),
    ] = None,
    weak: _Weak = None,
    strong: _Strong = None,
    models: _Models = None,
    embeddings: _Url = None,
    embeddings_model: _EmbeddingsModel = "",
    embeddings_key_env: _KeyEnv = None,
    encoder: _Encoder = None,
    as_json: _Json = False,
) -> None:
    """Print the threshold for a share of strong calls, or for a floor of quality that the rows prove at 95 %."""
    _alone()
    from balancer.learning.command import run_floor, run_share  # noqa: PLC0415

    rows = _data(data or [], weak, strong, models, None)
    means = _means(embeddings, embeddings_model, embeddings_key_env, encoder)
    if share is not None and floor is None:
        _finish(lambda: run_share(rows, means, router, share, as_json=as_json))
    elif floor is not None and share is None:
        _finish(lambda: run_floor(rows, means, router, floor, as_json=as_json))
    else:
        raise typer.BadParameter("expected either --strong-share or --quality-floor")


def _alone() -> None:
    """One thread for the algebra, if nobody said otherwise: its matrices are small, and where others work too its threads spend
    ten times as long waiting for each other. It is read when numpy is first imported.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _data(
    paths: list[Path], weak: list[str] | None, strong: list[str] | None, models: str | None, usd: str | None
) -> "Data":
    from balancer.learning.command import Data  # noqa: PLC0415

    try:
        prices = [float(each) for each in usd.split(",")] if usd else []
    except ValueError:
        raise typer.BadParameter(f"expected numbers and commas, given {usd}", param_hint="--usd") from None
    return Data(paths, weak or (), strong or (), models.split(",") if models else (), prices)


def _means(
    url: str | None, model: str, key_env: str | None, encoder: Path | None, *, prior: bool = False
) -> "Means":
    from balancer.learning.command import Means  # noqa: PLC0415

    key = None if key_env is None else os.environ.get(key_env)
    if key_env is not None and not key:
        raise typer.BadParameter(f"the environment has no {key_env}", param_hint="--embeddings-key-env")
    return Means(url, model, key, encoder, prior, _bundled)


def _bundled() -> "Classifier":
    from balancer.config.classifiers import bundled  # noqa: PLC0415

    return bundled("prior")


def _finish(work: "Callable[[], Said]") -> None:
    from balancer.learning.files import WrongFile  # noqa: PLC0415
    from balancer.learning.rows import BadData  # noqa: PLC0415

    try:
        said = work()
    except BadData as error:
        for mistake in error.mistakes:
            typer.echo(f"balancer: {mistake}", err=True)
        raise typer.Exit(WRONG_DATA) from None
    except (WrongFile, OSError) as error:
        typer.echo(f"balancer: {error}", err=True)
        raise typer.Exit(WRONG_DATA) from None
    typer.echo(said.text)
    raise typer.Exit(said.code)
