"""The commands of `balancer tier`: no logic here. As in `cli.py`, what a command does not need it does not import."""

import os
from pathlib import Path
from typing import Annotated

import typer

from balancer import tier_training

WRONG_USE = 2

app = typer.Typer(
    name="tier",
    help="Tiers: what choosing between models came to, and routers of your own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


tier_training.add_to(app)


@app.command("report")
def _report(
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="FILE", help="The outcome log. Default: that of the settings."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="FILE", help="YAML file of settings, which names the outcome log."),
    ] = None,
    days: Annotated[
        float | None,
        typer.Option("--days", min=0, metavar="N", help="Only the last N days. Default: all that is logged."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The numbers, as JSON.")] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            metavar="FILE",
            help="Write the rated prompts there instead, as JSON lines to train a classifier on.",
        ),
    ] = None,
) -> None:
    """Tell what tiers saved, what that risked, how sure it is, and whether requests have changed."""
    from time import time  # noqa: PLC0415

    from balancer.reports.command import Unreadable, run  # noqa: PLC0415

    try:
        said = run(log or _of_settings(config), now=time(), days=days, as_json=as_json, export_to=export)
    except Unreadable as error:
        typer.echo(f"balancer: {error}", err=True)
        raise typer.Exit(WRONG_USE) from None
    typer.echo(said, nl=False)


def _of_settings(config: str | None) -> Path:
    from balancer.config import ConfigError, load  # noqa: PLC0415
    from balancer.reports.command import Unreadable  # noqa: PLC0415

    try:
        found = load({}, os.environ, config).settings.outcome_log
    except ConfigError as error:
        raise Unreadable(
            "no outcome log is named: expected --log FILE, or settings without mistakes\n  "
            + "\n  ".join(map(str, error.mistakes))
        ) from None
    if found is None:
        raise Unreadable("no outcome log is named: expected --log FILE, or the setting outcome_log")
    return found
