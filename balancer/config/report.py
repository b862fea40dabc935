"""The settings that hold, and where each comes from: as YAML to read, or as plain values. Secrets are masked."""

import json
from hashlib import sha256
from typing import Any

import yaml

from balancer.config.load import Loaded
from balancer.config.replica import Replica
from balancer.config.schema import Settings

_ORIGIN_COLUMN = 44
_WIDTH = 10_000  # one setting, one line


def effective(loaded: Loaded) -> str:
    lines = []
    for key, origin in loaded.origins.items():
        value = getattr(loaded.settings, key)
        if key == "replicas":
            lines.append(_line(f"{key}:", origin))
            lines += (f"  - {_flow(replica)}" for replica in value)
        else:
            lines.append(_line(f"{key}: {_flow(value)}", origin))
    return "\n".join(lines)


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
        case Replica():
            return {key: _plain(getattr(value, key)) for key in Replica.model_fields}
    return str(value)
