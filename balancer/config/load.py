"""From what was given to the settings that hold: command line, then environment, then file, then defaults.

Every mistake of every source is found before any is told.
"""

import os
import re
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from balancer.config import classifiers, sources
from balancer.config.describe import Location, describe_at, key_at, keys_at
from balancer.config.extras import can_heal, can_trace
from balancer.config.keys import keys_in
from balancer.config.kinds import is_key
from balancer.config.mistakes import ConfigError, Contradiction, Mistake, nearest, shown
from balancer.config.names import SECRETS
from balancer.config.resolve import Findings, by_setting
from balancer.config.schema import Settings
from balancer.config.sources import Given
from balancer.learning.files import WrongFile
from balancer.learning.rows import BadData

DEFAULT = "default"

_VARIABLE = re.compile("[A-Z_][A-Z0-9_]{0,63}")
"""What is no such name may be the key itself."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """`origins` tells for every setting where its value comes from; `again` reads the same sources anew, of which `file` may
    have changed.
    """

    settings: Settings
    origins: Mapping[str, str]
    file: Path | None
    again: Callable[[], "Loaded"] = field(repr=False, compare=False)  # its arguments may be secrets


def load(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    file: Path | str | None = None,
    mistakes: Iterable[Mistake] = (),
) -> Loaded:
    """The settings, or ConfigError with all mistakes: `mistakes`, which were found before, and those found here.

    `flags` are the ones given, by name with underscores: text or a list of texts. Without `file`,
    the variable BALANCER_CONFIG may name one.
    """
    findings = Findings(list(mistakes))
    layers = [sources.command_line(flags), sources.environment(environ)]
    named = environ.get(sources.CONFIG_VARIABLE) if file is None else file
    path = None if named is None else Path(named)
    if path is not None:
        try:
            layers.append(sources.file(path))
        except ConfigError as error:
            findings.mistakes += error.mistakes
            # What the file would have said is not known: nothing is missing, nothing contradicts.
            findings.lost |= Settings.model_fields.keys()
    given = ChainMap(*(by_setting(layer, findings) for layer in layers))
    settings = _validated(given, findings)
    findings.mistakes += _file_mistakes(given)
    if settings is not None:
        findings.mistakes += _outside_mistakes(settings, environ, given)
    if settings is None or findings.mistakes:
        raise ConfigError(findings.mistakes)
    origins = {key: given[key].origin if key in given else DEFAULT for key in Settings.model_fields}
    return Loaded(settings, origins, path, partial(load, flags, environ, file))


def _validated(given: Mapping[str, Given], findings: Findings) -> Settings | None:
    values = {key: each.value for key, each in given.items()}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        errors = _innermost(error.errors(include_url=False))
    contradictions = _contradictions(errors)
    if not contradictions:
        for each in errors:
            if each["loc"][0] not in findings.lost or each["type"] != "missing":
                findings.mistakes.append(_mistake(each, given))
        # Only values that are right alone can contradict: right ones take the place of the wrong.
        wrong = {each["loc"][:2] for each in errors}
        findings.lost |= {str(key) for key, *_ in wrong}
        try:
            Settings.model_validate(_mended(values, wrong))
        except ValidationError as error:
            contradictions = _contradictions(error.errors(include_url=False))
    for wrong_together in contradictions:
        location = wrong_together.location
        if findings.lost.isdisjoint(wrong_together.involved):
            findings.mistakes.append(
                Mistake(key_at(location), wrong_together.expected, _origin(location, given))
            )
    return None


def _innermost(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without those that only follow from others: a list whose one item is wrong is not told to be empty too."""
    around = {each["loc"][:depth] for each in errors for depth in range(1, len(each["loc"]))}
    return [each for each in errors if each["loc"] not in around]


def _origin(location: Location, given: Mapping[str, Given]) -> str:
    source = given.get(str(location[0]))
    return source.place(location[1:]) if source else "not set"


def _contradictions(errors: Iterable[ErrorDetails]) -> list[Contradiction]:
    return [each for error in errors if error["type"] == "contradiction" for each in error["ctx"]["found"]]


def _mended(values: Mapping[str, Any], wrong: Iterable[Location]) -> dict[str, Any]:
    """`values` without the wrong ones. A wrong replica leaves one in its place, so that the indexes stay."""
    mended = dict(values)
    for setting, *inside in wrong:
        replicas = mended.get("replicas")
        if setting == "replicas" and inside and isinstance(replicas, list):
            mended["replicas"] = [
                f"http://{index}.invalid" if [index] == inside else replica
                for index, replica in enumerate(replicas)
            ]
        else:
            mended.pop(str(setting), None)
    mended.setdefault("replicas", ["http://0.invalid"])
    return mended


def _mistake(error: ErrorDetails, given: Mapping[str, Given]) -> Mistake:
    location = error["loc"]
    setting = str(location[0])
    origin = _origin(location, given)
    key = key_at(location)
    match error["type"]:
        case "extra_forbidden":
            near = nearest(str(location[-1]), keys_at(Settings, location[:-1]))
            return Mistake(key, f"a known key{near}", origin)
        case "missing":
            example = (
                "; for example --worker-urls http://gpu-a:8000 http://gpu-b:8000" if key == "replicas" else ""
            )
            return Mistake(key, f"{describe_at(Settings, location)}{example}", origin)
        case "value_error":
            expected = str(error["ctx"]["error"])
        case _:
            expected = describe_at(Settings, location)
    hidden = setting in SECRETS or location[-1] == "api_key_env"
    return Mistake(key, expected, origin, None if hidden else shown(error["input"]))


def _outside_mistakes(
    settings: Settings, environ: Mapping[str, str], given: Mapping[str, Given]
) -> Iterator[Mistake]:
    """What is needed from elsewhere is there at the start: keys of providers, which nobody is told, classifiers, extras."""
    for location, variable in _named_keys(settings):
        if not is_key(environ.get(variable, "")):
            expected = "the name of an environment variable that holds a key of printable ASCII"
            named = shown(variable) if _VARIABLE.fullmatch(variable) else None
            yield Mistake(key_at(location), expected, _origin(location, given), named)
    for at, entry in settings.classifiers():
        try:
            classifiers.read({entry.key: entry}, environ)
        except (OSError, WrongFile) as error:
            why = error.strerror if isinstance(error, OSError) else error
            expected = f"prior, length or a readable file: {why}"
            yield Mistake(key_at(at), expected, _origin(at, given), shown(str(entry.path)))
        except BadData as error:
            location = (*at, "encoder")
            yield Mistake(key_at(location), f"the folder of an encoder: {error}", _origin(location, given))
    if settings.heal_json and not can_heal():
        expected = "false, or the extra `heal` installed (pip install 'vllm-balancer[heal]')"
        yield Mistake("heal_json", expected, _origin(("heal_json",), given))
    if settings.otlp_traces_endpoint is not None and not can_trace():
        expected = "none, or the extra `otel` installed (pip install 'vllm-balancer[otel]')"
        yield Mistake("otlp_traces_endpoint", expected, _origin(("otlp_traces_endpoint",), given))


def _named_keys(settings: Settings) -> Iterator[tuple[Location, str]]:
    """The variables that hold keys, and where they are named."""
    for name, tier in settings.tiers.items():
        if tier.api_key_env is not None:
            yield ("tiers", name, "api_key_env"), tier.api_key_env
    for at, entry in settings.classifiers():
        kind, asked = entry.asked or ("", None)
        if asked is not None and asked.api_key_env is not None:
            yield (*at, kind, "api_key_env"), asked.api_key_env


def _file_mistakes(given: Mapping[str, Given]) -> Iterator[Mistake]:
    """Files are read before anything listens, whatever else is wrong."""
    for key in ("ssl_certfile", "ssl_keyfile", "api_key_file", "outcome_log"):
        source = given.get(key)
        if source is None or not isinstance(source.value, str) or not source.value:
            continue
        path = Path(source.value)
        try:
            if key == "api_key_file":
                keys_in(path)
            elif key == "outcome_log":  # made where it is not there yet
                if not path.parent.is_dir():
                    yield Mistake(key, "a file in a folder that is there", source.origin, shown(source.value))
            else:
                path.read_bytes()
        except OSError as error:
            yield Mistake(key, f"a readable file: {error.strerror}", source.origin, shown(source.value))
        except ValueError as error:
            yield Mistake(key, str(error), source.origin, shown(source.value))
    journal = given.get("journal")
    if journal is not None and isinstance(journal.value, str) and journal.value:
        path = Path(journal.value)
        if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
            expected = "a file in a directory that can be written to"
            yield Mistake("journal", expected, journal.origin, shown(journal.value))
