"""Every name a setting answers to, and how each source spells it: key in the file, flag, environment variable."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_origin

from pydantic import BaseModel

from balancer.config.aliases import ALIASES, STATIC_MODELS, Alias
from balancer.config.argv import Takes, flag
from balancer.config.describe import holds_secret, parts, unwrapped
from balancer.config.schema import GROUPS, Settings

__all__ = [
    "ENVIRONMENT_PREFIX",
    "FLAGS",
    "NAMES",
    "SECRETS",
    "STRUCTURED",
    "Name",
    "flag",
    "group",
    "variable",
]

ENVIRONMENT_PREFIX = "BALANCER_"


@dataclass(frozen=True, slots=True)
class Name:
    """`setting` is the field of the schema that is set; `takes` says what its flag takes."""

    name: str
    setting: str
    takes: Takes
    alias: Alias | None = None


def variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()


def group(setting: str) -> str:
    return next(each.__name__ for each in GROUPS if setting in each.model_fields)


def _names() -> Iterator[Name]:
    for setting, field in Settings.model_fields.items():
        core = unwrapped(field.annotation)
        many = get_origin(core) is tuple
        yield Name(setting, setting, Takes.MANY if many else Takes.NOTHING if core is bool else Takes.ONE)
    for alias in ALIASES:
        yield Name(alias.name, alias.setting, Takes.MANY if alias.many else Takes.ONE, alias)
    yield Name(STATIC_MODELS, "replicas", Takes.ONE)


NAMES: dict[str, Name] = {each.name: each for each in _names()}
FLAGS: dict[str, Takes] = {"config": Takes.ONE} | {each.name: each.takes for each in NAMES.values()}
SECRETS = frozenset(key for key, field in Settings.model_fields.items() if holds_secret(field.annotation))
STRUCTURED = frozenset(
    key
    for key, field in Settings.model_fields.items()
    if any(isinstance(part, type) and issubclass(part, BaseModel) for part in parts(field.annotation))
    or get_origin(unwrapped(field.annotation)) is dict
)
"""Settings that are mappings, or lists of them."""
