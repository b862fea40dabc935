"""`balancer replay`: makes a journal's decisions again: whether they are the same, or what another policy would have come to."""

from functools import partial
from pathlib import Path

import msgspec

from balancer.config.mistakes import nearest
from balancer.journal.counterfactual import Counterfactual, Outcomes
from balancer.journal.opening import POLICIES, policy_of
from balancer.journal.reader import Reading, read_journal
from balancer.journal.replayer import JournalError, Replayer
from balancer.journal.report import compared, told, told_of_other, verified


class Unreadable(Exception):
    """The journal, or what is asked of it; the message is for the user."""


def run(path: Path, *, policy: str | None, as_json: bool) -> tuple[str, bool]:
    """What to print, and whether all that could be verified was the same.

    Raises: Unreadable.
    """
    if policy is not None and policy not in POLICIES:
        raise Unreadable(
            f"--policy: expected one of {', '.join(POLICIES)}, given {policy!r}{nearest(policy, POLICIES)}"
        )
    reading = Reading()
    replayer: Replayer
    try:
        if policy is None:
            replayer = Replayer(policy_of)
        else:
            outcomes = Outcomes()
            for event in read_journal(path, Reading()):
                outcomes.feed(event)
            replayer = Counterfactual(policy_of, partial(policy_of, name=policy), outcomes)
        for event in read_journal(path, reading):
            replayer.feed(event)
    except OSError as error:
        raise Unreadable(f"{path}: expected a journal: {error.strerror or error}") from None
    except JournalError as error:
        raise Unreadable(f"{path}: not a journal that this version understands: {error}") from None
    if not reading.bytes or not replayer.counts.runs:
        raise Unreadable(
            "\n".join([f"{path}: expected a journal, and there is nothing in it", *reading.notes])
        )
    found = verified(replayer.counts, reading)
    text = told(found)
    if isinstance(replayer, Counterfactual):
        found["other"] = compared(replayer.rows, str(replayer.facts["policy"]), str(policy))
        text += "\n" + told_of_other(found["other"])
    if as_json:
        text = msgspec.json.format(msgspec.json.encode(found)).decode() + "\n"
    return text, replayer.counts.first is None
