"""`balancer tier report`: reads an outcome log, and prints what it says."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from balancer.accounting.outcome_store import DAY_S, Reading, UnusableLog
from balancer.reports.export import export
from balancer.reports.render import render
from balancer.reports.report import report
from balancer.reports.rows import read_rows


class Unreadable(Exception):
    """The log or the export; the message is for the user."""


def run(log: Path, *, now: float, days: float | None, as_json: bool, export_to: Path | None) -> str:
    """What to print. `days`: only the last ones.

    Raises: Unreadable.
    """
    since = 0.0 if days is None else now - days * DAY_S
    try:
        with Reading(log) as reading:
            if export_to is not None:
                return _exported(reading, export_to, since)
            models = report(read_rows(reading, since))
    except (OSError, UnusableLog) as error:
        raise Unreadable(f"{log}: expected an outcome log: {error}") from None
    if as_json:
        return (
            msgspec.json.format(msgspec.json.encode({"virtual_models": models}, enc_hook=_plain)).decode()
            + "\n"
        )
    return render(models)


def _exported(reading: Reading, to: Path, since: float) -> str:
    try:
        written, left = export(reading, to, since)
    except OSError as error:
        raise Unreadable(f"{to}: cannot be written: {error.strerror}") from None
    told = [f"{written:,} rated requests in {to}"]
    if left.no_prompt:
        told.append(f"{left.no_prompt:,} left out: their prompts were not kept (outcome_log_prompts)")
    if left.later_turn:
        told.append(
            f"{left.later_turn:,} left out: later turns of a conversation, whose tier was not drawn anew"
        )
    if left.other_tier:
        told.append(
            f"{left.other_tier:,} left out: with one tier to choose from, or served by neither the weakest nor the strongest"
        )
    return "\n".join(told) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError
