"""What a client says of an answer: a rating of it, or which of two tiers' answers was better. Body bytes to a Feedback.

Unlike requests to replicas, which are tolerated as they come, this is our own route: every field is judged, and unknown ones are
refused by name, so that nobody sends ratings for months that nobody reads.
"""

from dataclasses import dataclass
from typing import Literal

from balancer.core.errors import bad_field, bad_request
from balancer.core.request.parse import decode
from balancer.core.types import Json

MAX_ID_CHARS = 128
MAX_COMMENT_CHARS = 2000
STARS = 5

Winner = Literal["strong", "weak", "tie"]

_VERDICTS = {"up": 1.0, "down": 0.0}
_SAYS = ("rating", "stars", "winner")
_FIELDS = frozenset({"decision_id", "comment", *_SAYS})


@dataclass(frozen=True, slots=True)
class Feedback:
    """`rating` is in [0, 1]. Either it or `winner` is there, never both."""

    decision_id: str
    rating: float | None = None
    winner: Winner | None = None
    comment: str = ""

    @property
    def kind(self) -> str:
        return "winner" if self.rating is None else "rating"


def read_feedback(body: bytes, header_id: str | None = None) -> Feedback:
    """`header_id` is the decision's id where a header brings it.

    Raises: Refused (400), naming the field.
    """
    fields = decode(body)
    if not isinstance(fields, dict):
        raise bad_request('The body is no JSON object, such as {"decision_id": "...", "rating": "up"}.')
    for name in fields:
        if name not in _FIELDS:
            raise bad_field(name[:100], f"no such field; known are {', '.join(sorted(_FIELDS))}")
    said = [name for name in _SAYS if fields.get(name) is not None]
    if len(said) != 1:
        raise bad_field(said[1] if said else "rating", "exactly one of rating, stars and winner")
    return Feedback(
        _decision_id(fields.get("decision_id"), header_id),
        _rating(fields),
        _winner(fields.get("winner")),
        _comment(fields.get("comment")),
    )


def _decision_id(given: Json, header_id: str | None) -> str:
    if given is None:
        given = header_id
    elif header_id is not None and header_id != given:
        raise bad_field("decision_id", "the one that the header tells, or only one of both")
    if not isinstance(given, str) or not 0 < len(given) <= MAX_ID_CHARS:
        raise bad_field("decision_id", "the id that the answer's header x-balancer-decision-id told")
    return given


def _rating(fields: dict[str, Json]) -> float | None:
    rating, stars = fields.get("rating"), fields.get("stars")
    if stars is not None:
        if isinstance(stars, bool) or not isinstance(stars, int | float) or not 1 <= stars <= STARS:
            raise bad_field("stars", f"a number from 1 to {STARS}")
        return (stars - 1) / (STARS - 1)
    if rating is None:
        return None
    if isinstance(rating, str) and rating in _VERDICTS:
        return _VERDICTS[rating]
    if isinstance(rating, bool) or not isinstance(rating, int | float) or not 0 <= rating <= 1:
        raise bad_field("rating", 'a number from 0 to 1, "up" or "down" (1 to 5 is `stars`)')
    return float(rating)


def _winner(given: Json) -> Winner | None:
    match given:
        case None | "strong" | "weak" | "tie":
            return given
    raise bad_field("winner", "strong, weak or tie")


def _comment(given: Json) -> str:
    if given is None:
        return ""
    if not isinstance(given, str):
        raise bad_field("comment", "text")
    return given[:MAX_COMMENT_CHARS]
