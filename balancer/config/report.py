"""The settings that hold, and where each comes from: as YAML to read, or as plain values. Secrets are masked."""

import json
from hashlib import sha256
from typing import Any

import yaml
from pydantic import BaseModel

from balancer.config.describe import key_of
from balancer.config.keys import client_keys
from balancer.config.load import Loaded
from balancer.config.names import STRUCTURED
from balancer.config.never import warnings
from balancer.config.replica import Replica
from balancer.config.schema import Settings
from balancer.config.tiering_report import readable

_ORIGIN_COLUMN = 44
_WIDTH = 10_000  # one setting, one line


def effective(loaded: Loaded) -> str:
    lines = []
    for key, origin in loaded.origins.items():
        value = getattr(loaded.settings, key)
        if key == "replicas":
            lines.append(_line(f"{key}:", origin))
            lines += (f"  - {_flow(replica)}" for replica in value)
        elif key in STRUCTURED and value:
            lines.append(_line(f"{key}:", origin))
            items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
            lines += (
                f"  - {_flow(item)}" if name is None else f"  {_flow({name: item})[1:-1]}"
                for name, item in items
            )
        else:
            lines.append(_line(f"{key}: {_flow(value)}", origin))
    in_words = list(readable(loaded.settings))
    if in_words:
        lines += ["", *(f"# {line}" for line in in_words)]
    return "\n".join(lines)


def warnings_of(settings: Settings) -> list[str]:
    """What is no mistake, and hardly meant."""
    if settings.tenant_header is not None:
        return warnings(settings, None)
    try:
        return warnings(settings, client_keys(settings).values())
    except (OSError, ValueError):
        return warnings(settings, None)


def plain(settings: Settings) -> dict[str, Any]:
    return {key: _plain(getattr(settings, key)) for key in Settings.model_fields}


def digest(settings: Settings) -> str:
    """The same for the same settings, wherever they come from. Secrets don't count."""
    return sha256(json.dumps(plain(settings), sort_keys=True).encode()).hexdigest()[:12]


def _line(text: str, origin: str) -> str:
    return f"{text:{_ORIGIN_COLUMN}}  # {origin}"


def _flow(value: Any) -> str:
    plain = _plain(value)
    text = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=_WIDTH, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case tuple():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case Replica():
            return {key: _plain(getattr(value, key)) for key in Replica.model_fields}
        case BaseModel():  # only what was said: most of the rest is empty
            items = type(value).model_fields.items()
            return {
                key_of(item): _plain(getattr(value, item[0]))
                for item in items
                if getattr(value, item[0]) != item[1].default
            }
    return str(value)
