"""The schema in words: what a value must be, for messages, help and reference. Made from the annotations alone."""

from collections.abc import Iterable
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as bounds
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

Location = tuple[str | int, ...]
_TEXT = "text"


def key_at(location: Location) -> str:
    """`("replicas", 1, "url")` as users read it: `replicas[1].url`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return text.removeprefix(".")


def describe(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """What a value must be, in words: the noun of its type and its bounds."""
    core, facts = _parts(annotation, metadata)
    limits = _limits(facts)
    if get_origin(core) is Literal:
        *most, last = get_args(core)
        return f"{', '.join(most)} or {last}"
    if get_origin(core) is tuple:
        return f"a list of {noun(get_args(core)[0])}s{limits}"
    kind = noun(annotation, metadata)
    article = "" if kind.endswith("s") or core is bool or kind == _TEXT else "a "
    return f"{article}{kind}{limits}"


def noun(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """What kind of value it is, whatever its bounds."""
    core, facts = _parts(annotation, metadata)
    named = [fact for fact in facts if isinstance(fact, str)]
    return named[0] if named else {bool: "true or false"}.get(core, _TEXT)


def describe_at(model: type[BaseModel], location: Location) -> str:
    annotation: Any = model
    metadata: list[Any] = []
    for step in location:
        core = unwrapped(annotation)
        if isinstance(step, int):
            annotation, metadata = get_args(core)[0], []
        else:
            field = core.model_fields[step]
            annotation, metadata = field.annotation, field.metadata
    return describe(annotation, metadata)


def holds_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(holds_secret(part) for part in get_args(annotation))


def unwrapped(annotation: Any) -> Any:
    """The type within Optional and Annotated."""
    return _parts(annotation, ())[0]


def _parts(annotation: Any, metadata: Iterable[Any]) -> tuple[Any, list[Any]]:
    """The type within Optional and Annotated, and all that is said about it."""
    facts = list(metadata)
    if get_origin(annotation) in {Union, UnionType}:
        [annotation] = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is Annotated:
        annotation, *extra = get_args(annotation)
        facts += extra
    flat = [each.metadata if isinstance(each, FieldInfo) else [each] for each in facts]
    return annotation, [fact for each in flat for fact in each]


def _limits(facts: Iterable[Any]) -> str:
    said: dict[type, str] = {}
    for fact in facts:
        match fact:
            case bounds.Ge(ge=limit):
                said[bounds.Ge] = f"at least {limit}"
            case bounds.Gt(gt=limit):
                said[bounds.Gt] = f"above {limit}"
            case bounds.Le(le=limit):
                said[bounds.Le] = f"at most {limit}"
            case bounds.Lt(lt=limit):
                said[bounds.Lt] = f"below {limit}"
            case bounds.MinLen(min_length=1):
                said[bounds.MinLen] = "not empty"
    return f", {' and '.join(said.values())}" if said else ""
