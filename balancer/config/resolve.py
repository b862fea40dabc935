"""One layer of what was given, brought to the names and values of the schema: aliases, unknown names, JSON replicas."""

import json
from dataclasses import dataclass, field
from typing import Any

from balancer.config.aliases import STATIC_BACKENDS, STATIC_MODELS, VALUE_ALIASES, comma_separated
from balancer.config.mistakes import Mistake, nearest, shown
from balancer.config.names import NAMES, SECRETS, STRUCTURED, Name
from balancer.config.sources import Given, Layer


@dataclass(slots=True)
class Findings:
    """The mistakes so far, and the settings whose value is lost by them: nothing more is said of those."""

    mistakes: list[Mistake] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)


def by_setting(layer: Layer, findings: Findings) -> dict[str, Given]:
    values: dict[str, Given] = {}
    written_as: dict[str, str] = {}
    for name, given in _with_static_models(layer, findings).items():
        known = NAMES.get(name)
        if known is None:
            near = nearest(layer.spell(name), [layer.spell(each) for each in NAMES])
            findings.mistakes.append(Mistake(name, f"a known setting{near}", given.origin))
            continue
        setting = known.setting
        try:
            value = _translated(known, given.value)
        except ValueError as error:
            hidden = None if setting in SECRETS else shown(given.value)
            findings.mistakes.append(Mistake(name, str(error), given.origin, hidden))
            findings.lost.add(setting)
            continue
        if setting not in values:
            values[setting] = Given(value, given.origin, given.places)
            written_as[setting] = name
        elif values[setting].value != value:
            expected = f"the same as {layer.spell(written_as[setting])}, since both set {setting}"
            findings.mistakes.append(Mistake(name, expected, given.origin))
    return values


def _with_static_models(layer: Layer, findings: Findings) -> dict[str, Given]:
    """`static_backends` and `static_models` joined to one list of replicas, under the name of the former."""
    names = dict(layer.given)
    models = names.pop(STATIC_MODELS, None)
    if models is None:
        return names
    backends = names.pop(STATIC_BACKENDS, None)
    if backends is None:
        expected = f"{layer.spell(STATIC_BACKENDS)} beside it"
        findings.mistakes.append(Mistake(STATIC_MODELS, expected, models.origin))
        return names
    try:
        pairs = zip(comma_separated(backends.value), comma_separated(models.value), strict=True)
        replicas = [{"url": url, "models": [model]} for url, model in pairs]
    except ValueError:
        expected = f"one model for each of {layer.spell(STATIC_BACKENDS)}, with commas between"
        findings.mistakes.append(Mistake(STATIC_MODELS, expected, models.origin, shown(models.value)))
        findings.lost.add("replicas")
        return names
    return names | {STATIC_BACKENDS: Given(replicas, backends.origin, backends.places)}


def _translated(name: Name, value: Any) -> Any:
    if name.alias is not None and name.alias.translate is not None:
        value = name.alias.translate(value)
    if name.setting in STRUCTURED:
        # On the command line and in the environment a mapping is JSON; a replica may be a URL.
        value = [_mapping(item, name) for item in value] if isinstance(value, list) else _mapping(value, name)
    if isinstance(value, str):
        value = VALUE_ALIASES.get(name.setting, {}).get(value, value)
    return value


def _mapping(item: Any, name: Name) -> Any:
    if not isinstance(item, str) or not item.lstrip().startswith("{"):
        return item
    try:
        return json.loads(item)
    except (ValueError, RecursionError) as error:
        expected = "a URL, or a JSON object" if name.setting == "replicas" else "a JSON object"
        raise ValueError(f"{expected}: {error}") from None
