"""The commands: they read the command line, call what does the work, and turn its outcome into an exit code.

What a command does not need it does not import: `balancer version` knows no schema, `balancer check-config` no
server. So the flags of a command are made when it runs, from the schema or from the options it is for.
"""

import dataclasses
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin, get_type_hints

import typer

import balancer
from balancer import tier_cli

if TYPE_CHECKING:
    from balancer.config import Loaded

WRONG_CONFIGURATION = 2
_HELP = {"help_option_names": ["-h", "--help"]}
_UNPARSED = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

app = typer.Typer(
    name="balancer",
    help=balancer.__doc__,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_HELP,
)
app.add_typer(tier_cli.app)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command and leaves by SystemExit."""
    app(None if argv is None else list(argv), prog_name="balancer")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(balancer.__version__)
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    pass


@app.command("serve", context_settings=_UNPARSED)
def _serve(context: typer.Context) -> None:
    """Balance requests over vLLM replicas."""

    def serve(loaded: "Loaded") -> int:
        from balancer.process import run  # noqa: PLC0415

        return run(loaded)

    _with_settings(context, serve)


@app.command("check-config", context_settings=_UNPARSED)
def _check_config(context: typer.Context) -> None:
    """Print every setting that would hold and where it comes from, or all mistakes at once; and warn of what is hardly meant."""

    def check(loaded: "Loaded") -> int:
        from balancer.config.report import effective, warnings_of  # noqa: PLC0415

        typer.echo(effective(loaded))
        for warning in warnings_of(loaded.settings):
            typer.echo(f"warning: {warning}", err=True)
        return 0

    _with_settings(context, check)


@app.command("replica", context_settings=_UNPARSED)
def _replica(context: typer.Context) -> None:
    """Run an embedded replica, which answers like vLLM and needs no GPU."""
    from balancer.config.argv import Takes, flag, normalised  # noqa: PLC0415
    from balancer.embedded.options import ReplicaOptions  # noqa: PLC0415

    def replica(**values: Any) -> None:
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        try:
            options = ReplicaOptions(**given)
        except ValueError as error:
            typer.echo(f"{context.command_path}: {error}", err=True)
            raise typer.Exit(WRONG_CONFIGURATION) from None
        from balancer.embedded.server import run_replica  # noqa: PLC0415

        run_replica(options)

    hints = get_type_hints(ReplicaOptions)
    flags = {}
    parameters = []
    for field in dataclasses.fields(ReplicaOptions):
        many = get_origin(hints[field.name]) is tuple
        kind = list[str] if many else hints[field.name]
        default: Any = field.default
        if kind is not bool:  # a flag that takes nothing is the parser's own
            flags[field.name] = Takes.MANY if many else Takes.ONE
        parameters.append(
            _parameter(
                field.name,
                Annotated[kind, typer.Option(flag(field.name))],
                list(default) if many else default,
            )
        )
    _run(context, replica, parameters, normalised(context.args, flags))


@app.command("agent")
def _agent(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 9401,
    interval_s: Annotated[float, typer.Option(help="Seconds between two readings.")] = 1.0,
) -> None:
    """Tell balancers on other hosts of the GPUs of this one."""
    from balancer.agent import AgentOptions, run_agent  # noqa: PLC0415

    try:
        options = AgentOptions(host, port, interval_s)
    except ValueError as error:
        typer.echo(f"balancer agent: {error}", err=True)
        raise typer.Exit(WRONG_CONFIGURATION) from None
    raise typer.Exit(run_agent(options))


@app.command("top")
def _top(
    url: Annotated[
        str | None,
        typer.Option(
            help="The admin API, as http://127.0.0.1:8081. Default: BALANCER_ADMIN_URL, or BALANCER_ADMIN_PORT here."
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print the state once.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: as JSON, for scripts.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.")] = 1.0,
) -> None:
    """Watch a running balancer in the terminal. Its admin key is read from BALANCER_ADMIN_API_KEY."""
    from balancer.top import TopOptions, run_top  # noqa: PLC0415

    try:
        options = TopOptions.of(url, once=once, as_json=as_json, interval_s=interval)
    except ValueError as error:
        typer.echo(f"balancer top: {error}", err=True)
        raise typer.Exit(WRONG_CONFIGURATION) from None
    raise typer.Exit(run_top(options))


@app.command("explain")
def _explain(
    request: Annotated[Path, typer.Argument(metavar="REQUEST.json", help="The body of a request.")],
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            help="The admin API of a balancer, as http://127.0.0.1:8081. Default: BALANCER_ADMIN_URL, or BALANCER_ADMIN_PORT.",
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config", metavar="FILE", help="Ask no balancer: what these settings alone make of it."
        ),
    ] = None,
    path: Annotated[
        str | None,
        typer.Option("--path", help="Its route, as /v1/messages. Default: as the body looks."),
    ] = None,
    headers: Annotated[
        list[str] | None, typer.Option("--header", help="'Name: value', as the client would send it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All that is known, as JSON.")] = False,
) -> None:
    """Tell where a request would go now, and why: nothing is sent. The admin key is read from BALANCER_ADMIN_API_KEY."""
    from balancer import explain  # noqa: PLC0415
    from balancer.admin_client import AdminError, admin_url  # noqa: PLC0415
    from balancer.config import ConfigError, load  # noqa: PLC0415

    try:
        question = explain.question_of(request, path, headers or ())
        if config is None:
            told = explain.ask(admin_url(url), question)
        else:
            explain.no_url(url)
            told = explain.reckon(load({}, os.environ, config).settings, question)
    except (ValueError, AdminError) as error:
        typer.echo(f"balancer explain: {error}", err=True)
        raise typer.Exit(WRONG_CONFIGURATION) from None
    except ConfigError as error:
        typer.echo(
            "\n  ".join(("balancer explain: mistakes in the configuration", *map(str, error.mistakes))),
            err=True,
        )
        raise typer.Exit(WRONG_CONFIGURATION) from None
    typer.echo(
        explain.as_json(told) if as_json else explain.as_text(told, colour=sys.stdout.isatty()), nl=False
    )


@app.command("replay")
def _replay(
    journal: Annotated[Path, typer.Argument(metavar="JOURNAL", help="The file that `journal` names.")],
    policy: Annotated[
        str | None,
        typer.Option("--policy", metavar="NAME", help="Tell as well what this policy would have done."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The numbers, as JSON.")] = False,
) -> None:
    """Make every decision of a journal again: whether each is the same, or what another policy would have come to."""
    from balancer.journal.command import Unreadable, run  # noqa: PLC0415

    try:
        said, same = run(journal, policy=policy, as_json=as_json)
    except Unreadable as error:
        typer.echo(f"balancer: {error}", err=True)
        raise typer.Exit(WRONG_CONFIGURATION) from None
    typer.echo(said, nl=False)
    raise typer.Exit(0 if same else 1)


@app.command("version")
def _version() -> None:
    """Print the version."""
    _print_version(asked=True)


def _with_settings(context: typer.Context, action: "Callable[[Loaded], int]") -> None:
    """Runs `action` on the settings, or tells all that is wrong with them."""
    from balancer.config import ConfigError, load  # noqa: PLC0415
    from balancer.config.argv import leftovers, normalised  # noqa: PLC0415
    from balancer.config.names import FLAGS  # noqa: PLC0415

    def command(context: typer.Context, config: str | None, **flags: Any) -> None:
        given = {name: value for name, value in flags.items() if value is not None and value != []}
        try:
            code = action(load(given, os.environ, config, leftovers(context.args, FLAGS)))
        except ConfigError as error:
            count = len(error.mistakes)
            typer.echo(f"balancer: {count} mistake{'s' * (count > 1)} in the configuration", err=True)
            for mistake in error.mistakes:
                typer.echo(f"  {mistake}", err=True)
            raise typer.Exit(WRONG_CONFIGURATION) from None
        raise typer.Exit(code)

    _run(context, command, _settings_parameters(), normalised(context.args, FLAGS), extra=True)


def _settings_parameters() -> list[inspect.Parameter]:
    """One flag for every name of every setting, all as text: the schema judges the values, all at once."""
    from balancer.config import argv, names, reference  # noqa: PLC0415

    config = typer.Option(
        "--config", metavar="FILE", help="YAML file of settings; flags and environment go before it."
    )
    parameters = [
        _parameter("context", typer.Context),
        _parameter("config", Annotated[str | None, config], None),
    ]
    for name in names.NAMES.values():
        option = typer.Option(
            names.flag(name.name),
            help=reference.flag_help(name.setting),
            metavar=reference.metavar(name.setting),
            hidden=name.name != name.setting,
            rich_help_panel=names.group(name.setting),
            show_default=False,
        )
        kind: Any = list[str] | None if name.takes is argv.Takes.MANY else str | None
        parameters.append(_parameter(name.name, Annotated[kind, option], None))
    return parameters


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _run(
    context: typer.Context,
    function: Callable[..., None],
    parameters: list[inspect.Parameter],
    arguments: list[str],
    *,
    extra: bool = False,
) -> None:
    """Parses `arguments` as those of a command with `parameters`, and runs it."""
    function.__doc__ = context.command.help
    function.__annotations__ = {each.name: each.annotation for each in parameters}
    setattr(function, "__signature__", inspect.Signature(parameters))  # noqa: B010 - what typer reads; no name of Callable
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    settings = {**_HELP, "allow_extra_args": extra, "ignore_unknown_options": extra}
    command.command(context_settings=settings)(function)
    command(arguments, prog_name=context.command_path)
