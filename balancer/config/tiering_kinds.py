"""The kinds of values that the settings of tiering have, and what YAML makes of some of them."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from balancer.config.kinds import number, one_or_many
from balancer.config.regexes import pattern_of

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@-]{0,63}")
_ROUTELLM = "router-"


def _label(name: str) -> str:
    if not _LABEL.fullmatch(name) or name.startswith(_ROUTELLM):
        raise ValueError(
            "a name of at most 64 letters, digits and `._/@-`, which does not begin with `router-` or a sign"
        )
    return name


def _language(code: Any) -> Any:
    return "no" if code is False else code  # YAML's boolean, where Norwegian is meant


def _iso(code: str) -> str:
    if not re.fullmatch("[a-z]{2}", code):
        raise ValueError("a language by ISO 639-1, as en or de")
    return code


def _regex(text: str) -> str:
    pattern_of(text)
    return text


def _day_minute(value: Any) -> Any:
    """`22:00`, which YAML without quotes reads as 1320."""
    if isinstance(value, str) and (match := re.fullmatch(r"([01]?\d|2[0-4]):([0-5]\d)", value.strip())):
        value = int(match[1]) * 60 + int(match[2])
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 24 * 60:
        raise ValueError("a time of day, as 22:00")
    return value


def _offset_minutes(value: Any) -> Any:
    """`+02:00`; YAML without quotes reads `+10:00` as 600."""
    if isinstance(value, str) and (match := re.fullmatch(r"([+-]?)(\d{1,2})(?::?([0-5]\d))?", value.strip())):
        minutes = int(match[2]) * 60 + int(match[3] or 0)
        value = -minutes if match[1] == "-" else minutes
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 14:
        value *= 60
    if isinstance(value, bool) or not isinstance(value, int) or not -14 * 60 <= value <= 14 * 60:
        raise ValueError("what local time is ahead of UTC, as +02:00")
    return value


def unmangled(value: Any) -> Any:
    """YAML reads the key `on` as true."""
    if isinstance(value, dict) and True in value and "on" not in value:
        return {"on" if key is True else key: each for key, each in value.items()}
    return value


Label = Annotated[str, "name", AfterValidator(_label)]
Usd = Annotated[float, "USD", BeforeValidator(number), Field(ge=0, allow_inf_nan=False)]
Language = Annotated[str, "language", BeforeValidator(_language), AfterValidator(_iso)]
Labels = Annotated[tuple[Label, ...], Field(min_length=1), BeforeValidator(one_or_many)]
Words = Annotated[tuple[str, ...], BeforeValidator(one_or_many)]
Languages = Annotated[tuple[Language, ...], Field(min_length=1), BeforeValidator(one_or_many)]
Minute = Annotated[int, "time of day", BeforeValidator(_day_minute)]
Offset = Annotated[int, "UTC offset", BeforeValidator(_offset_minutes)]
Regex = Annotated[str, "regular expression", AfterValidator(_regex)]
TroubleName = Literal["saturated", "failing", "context", "limited", "timeout"]
StructureName = Literal["code", "table", "maths", "images", "audio", "tools", "json"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
