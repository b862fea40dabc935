"""The settings of rules: signals, decisions by them, and what tenants may."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from balancer.config.group import Group
from balancer.config.kinds import Count, Name, Share, number, one_or_many
from balancer.config.tiering_kinds import (
    DAYS,
    Day,
    Label,
    Labels,
    Languages,
    Minute,
    Offset,
    Regex,
    StructureName,
    Usd,
    Words,
)
from balancer.core.tiering.signals import BANDS


class LengthEntry(Group):
    min: Annotated[int, "whole number", BeforeValidator(number), Field(ge=0)] = 0
    """At least."""

    max: Annotated[int, "whole number", BeforeValidator(number), Field(ge=0)] | None = None
    """At most. Default: no limit."""

    unit: Literal["tokens", "bytes"] = "tokens"
    """Tokens of the whole prompt, by estimate, or bytes of the last user turn."""


class ComplexityEntry(Group):
    at_least: Share = 0.0
    """The least score."""

    below: Share = 1.0
    """Scores are below this; 1 belongs to it."""

    @model_validator(mode="before")
    @classmethod
    def _from_band(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in BANDS:
            raise ValueError("easy, medium or hard, or a mapping of `at_least` and `below`")
        return dict(zip(("at_least", "below"), BANDS[value], strict=True))


class TimeEntry(Group):
    start: Annotated[Minute, Field(alias="from")]
    """The time of day at which it begins, as 22:00."""

    end: Annotated[Minute, Field(alias="to")]
    """When it ends; on the next day, if that is earlier."""

    days: Annotated[tuple[Day, ...], Field(min_length=1), BeforeValidator(one_or_many)] = DAYS
    """mon, tue, wed, thu, fri, sat, sun: the days on which it begins."""

    utc_offset: Offset = 0
    """What local time is ahead of UTC, as +02:00."""


class SignalEntry(Group):
    keywords: Words | None = None
    """Words or phrases, whole and in any case, in the last user turn."""

    domain: Words | None = None
    """Words of a field of knowledge, of which more than one must be there."""

    at_least: Count | None = None
    """How many of the words must be there. Default: 1 of `keywords`, 2 of `domain`."""

    regex: Regex | None = None
    """Found in the last user turn. Its time must be bounded: one `*` or `+` at most."""

    language: Languages | None = None
    """The language of the last user turn is one of these, by ISO 639-1."""

    length: Annotated[LengthEntry, "length"] | None = None
    """`min` and `max`, in `unit` tokens (of the prompt) or bytes (of the last user turn)."""

    structure: (
        Annotated[tuple[StructureName, ...], Field(min_length=1), BeforeValidator(one_or_many)] | None
    ) = None
    """The last user turn has code, a table or maths in it, or the request images, audio, tools, or asks for json."""

    complexity: Annotated[ComplexityEntry, "complexity"] | None = None
    """A third of the scores: easy, medium or hard; or a mapping of `at_least` and `below`."""

    feedback: Literal["dissatisfied"] | None = None
    """The user says that the last answer was bad, or has rated it so."""

    time: Annotated[TimeEntry, "time"] | None = None
    """`from`, `to`, `days` and `utc_offset`."""

    tenant: Annotated[tuple[Name, ...], Field(min_length=1), BeforeValidator(one_or_many)] | None = None
    """Names of tenants."""


KINDS = tuple(name for name in SignalEntry.model_fields if name != "at_least")
"""A signal is one of these."""


class ConditionEntry(Group):
    signal: Name | None = None
    """The name of a signal. A condition that is a text is this."""

    all: (
        Annotated[
            tuple[Annotated["ConditionEntry", "condition"], ...],
            Field(min_length=1),
            BeforeValidator(one_or_many),
        ]
        | None
    ) = None
    """All of these."""

    any: (
        Annotated[
            tuple[Annotated["ConditionEntry", "condition"], ...],
            Field(min_length=1),
            BeforeValidator(one_or_many),
        ]
        | None
    ) = None
    """Any of these."""

    none: Annotated["ConditionEntry | None", Field(alias="not")] = None
    """Not this."""

    @model_validator(mode="before")
    @classmethod
    def _from_signal(cls, value: Any) -> Any:
        return {"signal": value} if isinstance(value, str) else value


class ThenEntry(Group):
    tier: Label | None = None
    """This tier."""

    tiers: Labels | None = None
    """One of these."""

    min_tier: Label | None = None
    """This tier or a stronger one. Further decisions are looked at."""

    deny: Name | None = None
    """None: the client is told this, with status 403."""


class DecisionEntry(Group):
    name: Label
    """How heads and reports call it."""

    priority: Annotated[int, "whole number", BeforeValidator(number)] = 0
    """The highest goes first; equal ones as they are written."""

    when: Annotated[ConditionEntry, "condition"]
    """The name of a signal, or `all`, `any` or `not` of conditions."""

    then: Annotated[ThenEntry, "effect"]
    """One of `tier`, `tiers`, `min_tier` and `deny`."""


class TenantEntry(Group):
    tiers: Labels | None = None
    """The only tiers it may use, whatever it asks for. Default: all."""

    min_tier: Label | None = None
    """The weakest tier it gets."""

    usd_per_day: Usd | None = None
    """What it may spend from midnight to midnight, UTC."""

    when_spent: Literal["refuse", "weakest"] = "refuse"
    """Then it is refused (429), or gets the weakest tier."""
