"""`balancer explain`: where a request would go, and why. Asks a running balancer, or what a configuration alone would make of it.

Without a running balancer there are no queues, no caches and no speeds: all replicas are taken for healthy, idle and alike.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from balancer.accounting.tier_metrics import TierSeries
from balancer.admin_client import KEY_VARIABLE, AdminClient
from balancer.config import Settings
from balancer.config.build import make_decider, make_provider, make_replica
from balancer.core.errors import Refused
from balancer.core.fleet.pins import ResponsePins
from balancer.core.request.parse import decode
from balancer.frontend.asking import Asking
from balancer.frontend.claims import Claims
from balancer.frontend.explaining import Explainer
from balancer.tier_state import TierState, prepare
from balancer.vllm_api.routes import inference_routes

WIDTH = 120

Question = dict[str, Any]
Told = dict[str, Any]


def question_of(file: Path, path: str | None, headers: Sequence[str]) -> Question:
    """Raises: ValueError, naming what is wrong with it."""
    try:
        body = decode(file.read_bytes())
    except OSError as error:
        raise ValueError(f"{file}: expected a request: {error.strerror}") from None
    if not isinstance(body, dict):
        raise ValueError(f"{file}: expected the body of a request, as a JSON object")  # noqa: TRY004 - as above
    given = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon:
            raise ValueError(f"--header: expected 'Name: value', given {header!r}")
        given[name.strip()] = value.strip()
    return {"body": body, "headers": given, **({} if path is None else {"path": path})}


def no_url(url: str | None) -> None:
    """Raises: ValueError, if a balancer is named beside a configuration."""
    if url is not None:
        raise ValueError("--url, --config: expected one of them")


def ask(url: str, question: Question) -> Told:
    """A running balancer. Raises: AdminError."""
    client = AdminClient(url, os.environ.get(KEY_VARIABLE))
    try:
        return {**client.ask("/admin/explain", question), "fleet": "running"}
    finally:
        client.close()


def reckon(settings: Settings, question: Question) -> Told:
    """What the configuration alone says.

    Raises: ValueError, if the question is none; ConfigError.
    """
    decider = make_decider(settings, Random(0).random)
    prepared = prepare(settings, os.environ)
    tiers = TierState(decider, TierSeries()).apply(prepared)
    now = monotonic()
    for state in (*map(make_replica, settings.replicas), *map(make_provider, prepared.providers)):
        decider.join(state)
        decider.probed(state, now, now)
    explainer = Explainer(
        decider,
        tiers,
        Asking(decider, tiers, settings.session_headers, heal=settings.heal_json),
        Claims(settings.timeout_headers, settings.tenant_header),
        inference_routes(scale_out=settings.scale_out_routes),
        ResponsePins(),
    )
    try:
        return {**explainer.explain(question), "fleet": "cold"}
    except Refused as refused:
        raise ValueError(refused.message) from None


def as_json(told: Told) -> str:
    return msgspec.json.format(msgspec.json.encode(told)).decode() + "\n"


def as_text(told: Told, *, colour: bool) -> str:
    """For people."""
    console = Console(width=WIDTH, no_color=not colour, highlight=False, force_terminal=colour)
    with console.capture() as captured:
        _print(told, console)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _print(told: Told, console: Console) -> None:
    asked, refused = told.get("request"), told["refused"]
    if told["fleet"] == "cold":
        console.print("Of the configuration alone: nothing is queued or cached, and no speed is known.")
    if asked is not None:
        session = {"named": "named", "first user turn": "by its first user turn"}.get(
            asked["session"], "none"
        )
        exactly = "" if asked["tokens_exact"] else "about "
        console.print(
            f"{told['route']}, model {escape(str(asked['model']))}: {exactly}{asked['prompt_tokens']:,} prompt tokens in "
            f"{asked['prompt_blocks']} blocks; session: {session}"
        )
    if refused is not None:
        console.print(f"[bold]Refused[/] with {refused['status']}: {escape(refused['message'])}")
        return
    if told["tiering"] is not None:
        _print_tiers(told["tiering"], console)
    decision = told["decision"]
    waits = ", once there is room," if decision["waits"] else ""
    console.print(
        f"Goes{waits} to [bold]{escape(decision['replica'])}[/] ({decision['reason']}). {decision['rule']}"
    )
    if decision["predicted_ttft_s"] is not None:
        console.print(f"First token expected {_ms(decision['predicted_ttft_s'])} after it is sent.")
    if decision["candidates"]:
        console.print()
        console.print(_candidates(decision["candidates"]))


def _print_tiers(tiering: Told, console: Console) -> None:
    score = "" if tiering["score"] is None else f", score {tiering['score']:.3f}"
    threshold = "" if tiering["threshold"] is None else f", threshold {tiering['threshold']:.3f}"
    rule = "" if tiering["rule"] is None else f", rule {escape(tiering['rule'])}"
    console.print(
        f"{escape(tiering['asked'])} is tier [bold]{escape(tiering['tier'])}[/] "
        f"({tiering['reason']}{rule}{score}{threshold}), model {escape(tiering['model'])}."
    )
    for left in tiering["left"]:
        console.print(f"Left before: {escape(left['tier'])} ({left['why']}).")
    if tiering["offers"]:
        table = _table("tier", ("replica", "TTFT", "cost", "USD"))
        for offer in tiering["offers"]:
            usd = "-" if offer["usd"] is None else f"{offer['usd']:.6f}"
            row = (escape(offer["replica"]), _ms(offer["ttft_s"]), _ms(offer["cost_s"]), usd)
            table.add_row(escape(offer["tier"]), *row)
        console.print()
        console.print(table)
        console.print()


def _candidates(candidates: Sequence[Told]) -> Table:
    parts = list(candidates[0]["parts_s"] or ())
    in_seconds = bool(parts)
    table = _table("replica", ("cost", *parts, "cached tokens", "in flight", "tokens before"))
    for each in candidates:
        name = escape(each["replica"])
        table.add_row(
            f"[bold]{name} <[/]" if each["chosen"] else name,
            _ms(each["cost"]) if in_seconds else f"{each['cost']:,.6g}",
            *(_ms((each["parts_s"] or {}).get(part)) for part in parts),
            f"{each['matched_tokens']['routing_history']:,}",
            f"{each['in_flight']:,}",
            f"{each['pending_tokens']:,}",
        )
    return table


def _table(first: str, others: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:,.1f} ms"
