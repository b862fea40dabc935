"""The schema in words: what a value must be, for messages, help and reference. Made from the annotations alone."""

from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as bounds
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

Location = tuple[str | int, ...]
KEY = "[key]"
"""Pydantic's last step to what is wrong with the key of a mapping, and not with its value."""

_TEXT = "text"
_UNCOUNTED = {_TEXT, "USD"}


def key_at(location: Location) -> str:
    """`("replicas", 1, "url")` as users read it: `replicas[1].url`. What is wrong with a key is told at it."""
    steps = location[:-1] if location[-1:] == (KEY,) else location
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")


def describe(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """What a value must be, in words: the noun of its type and its bounds."""
    core, facts = _parts(annotation, metadata)
    limits = _limits(facts)
    if get_origin(core) is Literal:
        *most, last = get_args(core)
        return f"{', '.join(most)} or {last}"
    if get_origin(core) is tuple:
        return f"a list of {_many(get_args(core)[0])}{limits}"
    if get_origin(core) is dict:
        return f"a mapping of names to {_many(get_args(core)[1])}{limits}"
    kind = noun(annotation, metadata)
    article = (
        ""
        if kind.endswith("s") or core is bool or kind in _UNCOUNTED
        else "an "
        if kind[0] in "aeio"
        else "a "
    )
    return f"{article}{kind}{limits}"


def noun(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """What kind of value it is, whatever its bounds."""
    core, facts = _parts(annotation, metadata)
    named = [fact for fact in facts if isinstance(fact, str)]
    if not named and get_origin(core) is Literal:
        return "name"
    return named[0] if named else {bool: "true or false"}.get(core, _TEXT)


def describe_at(model: type[BaseModel], location: Location) -> str:
    return describe(*_at(model, location))


def keys_at(model: type[BaseModel], location: Location) -> tuple[str, ...]:
    """The keys that the mapping there may have; none, where users name them."""
    core = unwrapped(_at(model, location)[0])
    return tuple(map(key_of, core.model_fields.items())) if _is_model(core) else ()


def key_of(named: tuple[str, FieldInfo]) -> str:
    """A field's name as it is written, of an item of `model_fields`."""
    name, field = named
    return field.alias or name


def _at(model: type[BaseModel], location: Location) -> tuple[Any, list[Any]]:
    """The annotation there, and what is said beside it."""
    annotation: Any = model
    metadata: list[Any] = []
    for step in location:
        core = unwrapped(annotation)
        if _is_model(core):
            field = next(field for name, field in core.model_fields.items() if step in {name, field.alias})
            annotation, metadata = field.annotation, field.metadata
        elif get_origin(core) is dict:
            annotation, metadata = get_args(core)[step != KEY], []
            if location[-1] == KEY:
                return get_args(core)[0], []
        else:
            annotation, metadata = get_args(core)[0], []
    return annotation, metadata


def _is_model(core: Any) -> bool:
    return isinstance(core, type) and issubclass(core, BaseModel)


def _many(annotation: Any) -> str:
    kind = noun(annotation)
    return {"prices": kind, "USD": kind, "abilities": kind}.get(kind, f"{kind}s")


def holds_secret(annotation: Any) -> bool:
    return SecretStr in parts(annotation)


def parts(annotation: Any) -> Iterator[Any]:
    """The types that it is made of, all the way down."""
    yield annotation
    for part in get_args(annotation):
        yield from parts(part)


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
