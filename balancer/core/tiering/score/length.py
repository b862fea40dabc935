"""The baseline that every classifier has to beat: longer questions gain more."""

from math import exp, log
from typing import ClassVar, Final

from balancer.core.tiering.types import Classifier, Score, Text

_MIDDLE: Final = log(200.0)
_WIDTH: Final = 0.6
"""Of the bytes of the last user turn, over the public prompts that the prior was trained on: the middle of their logarithms,
and the scale of the logistic curve that follows their distribution."""


class Length(Classifier):
    name: ClassVar[str] = "length"

    def score(self, text: Text) -> Score:
        if not text.last_bytes:
            return Score(0.5, known=False, why="empty")
        return Score(1.0 / (1.0 + exp((_MIDDLE - log(text.last_bytes)) / _WIDTH)), why="length")
