"""The kinds of values that settings have: what is taken for one, and by which noun messages and reference call it."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

_HEADER_PUNCTUATION = frozenset("!#$%&'*+-.^_`|~")  # RFC 9110, 5.6.2: token


def number(value: Any) -> Any:
    # `port: yes` is a YAML boolean, and would be taken for port 1.
    if isinstance(value, bool):
        raise ValueError("a number, not true or false")  # noqa: TRY004 - pydantic collects ValueErrors only
    return value


def _header(name: str) -> str:
    if not name or not all(c.isascii() and (c.isalnum() or c in _HEADER_PUNCTUATION) for c in name):
        raise ValueError("a header name")
    return name.lower()


def is_key(text: str) -> bool:
    """Whether it can stand behind `Authorization: Bearer`."""
    return text.isascii() and text.isprintable() and not any(c.isspace() for c in text) and text != ""


def _secret(value: SecretStr) -> SecretStr:
    if not is_key(value.get_secret_value()):
        raise ValueError("a key of printable ASCII without spaces, not empty")
    return value


def _path(value: Any) -> Any:
    if value == "":
        raise ValueError("a file path")
    return value


def _overload_status(value: int) -> int:
    if value not in {429, 503}:
        raise ValueError("429 or 503")
    return value


def one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str | dict) else value


def no_is_off(value: Any) -> Any:
    # `resume: off` is a YAML boolean.
    return "off" if value is False else value


def one_or_many_gpus(value: Any) -> Any:
    return [value] if type(value) is int else one_or_many(value)


def as_text(value: Any) -> Any:
    """An index is a number in YAML."""
    return str(value) if type(value) is int else value


def _gpu_name(name: str) -> str:
    if not (name.isascii() and name.isdigit()) and not name.startswith(("GPU-", "MIG-")):
        raise ValueError("the index of a GPU, or a UUID that begins with GPU- or MIG-")
    return name


def lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


# A bare string in an annotation is the noun by which messages and reference call such a value.
Port = Annotated[int, "port", BeforeValidator(number), Field(ge=0, le=65535)]
Bytes = Annotated[int, "bytes", BeforeValidator(number), Field(gt=0)]
Count = Annotated[int, "whole number", BeforeValidator(number), Field(ge=1)]
Seconds = Annotated[float, "seconds", BeforeValidator(number), Field(ge=0, allow_inf_nan=False)]
Period = Annotated[float, "seconds", BeforeValidator(number), Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, "share", BeforeValidator(number), Field(ge=0, le=1, allow_inf_nan=False)]
Secret = Annotated[SecretStr, "secret", AfterValidator(_secret)]
File = Annotated[Path, "file path", BeforeValidator(_path)]
GpuName = Annotated[str, "GPU", BeforeValidator(as_text), AfterValidator(_gpu_name)]
Name = Annotated[str, "text", Field(min_length=1)]
Header = Annotated[str, "header name", AfterValidator(_header)]
Headers = Annotated[tuple[Header, ...], BeforeValidator(one_or_many)]
OverloadStatus = Annotated[int, "status", BeforeValidator(number), AfterValidator(_overload_status)]
