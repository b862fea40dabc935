"""What of a request a score reads: the question, or why there is none. The same in training as when it serves."""

from typing import Final, NamedTuple

from balancer.core.tiering.score.features import Features, featurize
from balancer.core.tiering.score.question import goes_on, question, unreadable
from balancer.core.tiering.text import END_CHARACTERS
from balancer.core.tiering.types import Text

FEW_WORDS: Final = 8
"""Turns of fewer words are read together with those before."""


class View(NamedTuple):
    """`why` is empty where there is a question to score."""

    features: Features
    why: str = ""


def view(text: Text) -> View:
    asked = question(text.last)
    why = ""
    if not asked:
        why = "empty"
    elif goes_on(asked, text.turns):
        why = "follow-up"
    elif unreadable(asked):
        why = "unreadable"
    whole = len(asked)
    if whole >= 2 * END_CHARACTERS:  # nothing was taken out: it is as long as the turn
        whole = whole * text.last_bytes // len(asked.encode("utf-8", "surrogatepass"))
    if text.before and len(asked.split(None, FEW_WORDS)) < FEW_WORDS:
        asked = f"{text.before}\n{asked}"
        whole = len(asked)
    return View(featurize(asked, whole), why)
