"""Where settings come from: command line, environment and file, each read into a layer of what was given and where.

Nothing is judged here but what cannot be read at all; names and values are looked at in `load`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import create_model
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from balancer.config.argv import Takes
from balancer.config.describe import Location
from balancer.config.mistakes import ConfigError, Mistake
from balancer.config.names import ENVIRONMENT_PREFIX, NAMES, flag, variable

CONFIG_VARIABLE = variable("config")


@dataclass(frozen=True, slots=True)
class Given:
    """One value as it was written. `places` says more exactly where its parts stand, if the source knows."""

    value: Any
    origin: str
    places: Mapping[Location, str] = field(default_factory=dict)

    def place(self, location: Location) -> str:
        """Where the part at `location` stands, or the nearest thing around it."""
        while location:
            if location in self.places:
                return self.places[location]
            location = location[:-1]
        return self.origin


@dataclass(frozen=True, slots=True)
class Layer:
    """All that one source gave, by the names that were used, and how this source spells a name."""

    given: Mapping[str, Given]
    spell: Callable[[str], str]


def command_line(flags: Mapping[str, Any]) -> Layer:
    """`flags` by name with underscores: text or a list of texts."""
    return Layer({name: Given(value, f"command line {flag(name)}") for name, value in flags.items()}, flag)


# Kubernetes, and Docker's links before it, describe a service called `balancer` to every pod in variables that
# begin with BALANCER_: BALANCER_SERVICE_HOST, BALANCER_PORT=tcp://10.0.0.1:80, BALANCER_PORT_80_TCP_ADDR, ...
_SERVICE_VARIABLE = re.compile(
    r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$", re.IGNORECASE
)
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)


class _Environment(EnvSettingsSource):
    """Variables by setting, from any mapping; a list as JSON, or as words with commas or spaces between."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        fields: dict[str, Any] = {
            each.name: (list[Any] if each.takes is Takes.MANY else str, ...) for each in NAMES.values()
        }
        model = create_model("Environment", __base__=BaseSettings, **fields)
        super().__init__(model, case_sensitive=False, env_prefix=ENVIRONMENT_PREFIX)
        self.env_vars = variables

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        if value.lstrip().startswith(("[", "{")):
            with suppress(ValueError):
                return super().decode_complex_value(field_name, field, value)
        return re.split(r"[\s,]+", value.strip(" ,"))


def environment(environ: Mapping[str, str]) -> Layer:
    """The variables that begin with `BALANCER_`, in any case; an empty one counts as not set."""
    prefix = ENVIRONMENT_PREFIX.lower()
    ours = {
        name.lower(): text
        for name, text in environ.items()
        if name.lower().startswith(prefix)
        and name.upper() != CONFIG_VARIABLE
        and text
        and not _SERVICE_VARIABLE.search(name)
        and not (name.upper().endswith("_PORT") and _SERVICE_ADDRESS.match(text))
    }
    unknown = {name.removeprefix(prefix): text for name, text in ours.items()}
    values = unknown | _Environment(ours)()
    return Layer(
        {name: Given(value, f"environment {variable(name)}") for name, value in values.items()}, variable
    )


def file(path: Path) -> Layer:
    """A YAML file whose keys are the settings. ConfigError if it cannot be read as that."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise _unreadable(f"a readable file: {error.strerror}", str(path)) from None
    except UnicodeDecodeError as error:
        raise _unreadable(f"a file in UTF-8: byte {error.start} is not", str(path)) from None
    loader = yaml.SafeLoader("")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        places = dict(_places(node, (), set())) if node else {}
        content = loader.construct_document(node) if node else {}
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        raise _unreadable(f"valid YAML: {error.reason}", f"{path}:{line}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise _unreadable(f"valid YAML: {error.problem or error.context}", where) from None
    except RecursionError:
        raise _unreadable("YAML that is less deeply nested", str(path)) from None
    except ValueError as error:
        raise _unreadable(f"valid YAML: {error}", str(path)) from None
    except (LookupError, AttributeError, TypeError):  # what PyYAML makes of `!!bool x` and its like
        raise _unreadable("valid YAML: values that fit their tags", str(path)) from None
    finally:
        loader.dispose()
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise _unreadable("a mapping of settings", f"{path}:1")
    lines = {where: f"{path}:{line}" for where, line in places.items()}
    return Layer(
        {
            str(key): Given(
                value,
                lines.get((str(key),), str(path)),
                {where[1:]: line for where, line in lines.items() if where[0] == str(key)},
            )
            for key, value in content.items()
        },
        str,
    )


def _places(node: yaml.Node, above: Location, seen: set[int]) -> Iterator[tuple[Location, int]]:
    """The line of every key and item. A key that stands twice is an error, as YAML has it and PyYAML does not."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in first:
                problem = f"`{key.value}` stands here and in line {first[key.value]}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            first[key.value] = line
            yield (*above, key.value), line
            yield from _places(value, (*above, key.value), seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*above, index), item.start_mark.line + 1
            yield from _places(item, (*above, index), seen)


def _unreadable(expected: str, origin: str) -> ConfigError:
    return ConfigError([Mistake("config", expected, origin)])
