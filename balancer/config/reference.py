"""The schema as a page to read, and as the help of flags. `scripts/generate-config-reference` writes the page."""

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from balancer.config.aliases import ALIASES, PRODUCTION_STACK, STATIC_BACKENDS, STATIC_MODELS, VALUE_ALIASES
from balancer.config.classifier_entry import AskedModel, ClassifierEntry, ClassifyModel
from balancer.config.describe import describe, key_of, noun, unwrapped
from balancer.config.group import AT_START
from balancer.config.names import flag, variable
from balancer.config.replica import Replica
from balancer.config.schema import GROUPS, Replicas, Settings
from balancer.config.tiering import (
    ArmEntry,
    Can,
    CanaryEntry,
    ExperimentEntry,
    FallbackEntry,
    Prices,
    TierEntry,
    Tiering,
    VirtualEntry,
)
from balancer.config.tiering_rules import (
    ComplexityEntry,
    ConditionEntry,
    DecisionEntry,
    LengthEntry,
    SignalEntry,
    TenantEntry,
    ThenEntry,
    TimeEntry,
)

INNER: dict[type[BaseModel], tuple[tuple[str, type[BaseModel]], ...]] = {
    Replicas: (("Each of `replicas`", Replica),),
    Tiering: (
        ("Each of `tiers`", TierEntry),
        ("`usd_per_mtok` of a tier", Prices),
        ("`can` of a tier", Can),
        ("Each of `virtual_models`", VirtualEntry),
        ("Each `fallback` of a virtual model", FallbackEntry),
        ("`canary` of a virtual model", CanaryEntry),
        ("`experiment` of a virtual model", ExperimentEntry),
        ("`classifier` of a virtual model, which has one of `file`, `judge` and `classify`", ClassifierEntry),
        ("`judge` and `embeddings` of a classifier", AskedModel),
        ("`classify` of a classifier", ClassifyModel),
        ("Each of the `arms` of an experiment", ArmEntry),
        ("Each of `signals`, which has one of these", SignalEntry),
        ("`length` of a signal", LengthEntry),
        ("`complexity` of a signal", ComplexityEntry),
        ("`time` of a signal", TimeEntry),
        ("Each of `decisions`", DecisionEntry),
        ("`when` of a decision, which has one of these", ConditionEntry),
        ("`then` of a decision, which has one of these", ThenEntry),
        ("Each of `tenants`", TenantEntry),
    ),
}
"""The mappings that stand in settings, by group."""

_HEAD = """\
# Settings

<!-- Made from balancer/config/schema.py by scripts/generate-config-reference. Do not edit. -->

Every setting is a flag (`--max-attempts 2`), a variable (`BALANCER_MAX_ATTEMPTS=2`) and a key of the YAML file that
`--config` or `BALANCER_CONFIG` names (`max_attempts: 2`). The command line goes before the environment, the
environment before the file, the file before the default. `balancer check-config`, with the same flags as
`balancer serve`, prints what holds and where each value comes from, or everything that is wrong.

On the command line underscores stand for dashes too, a list takes several values (`--worker-urls URL URL`), a replica
may be a JSON object, and `--no-access-log` is `--access-log=false`. In the environment a list is JSON, or words with
commas or spaces between. A setting that is a mapping is JSON there (`--model-aliases '{"gpt-4o": "auto"}'`). A path is
relative to the working directory.

```yaml
replicas:
  - http://gpu-a:8000
  - url: https://gpu-b/llama
    name: gpu-b
    models: [meta-llama/Llama-3.1-8B-Instruct]
port: 8080
```

What changes in the file holds at once, without a restart (`config_watch_interval_s`, SIGHUP, or the admin API), but for the
settings marked (restart). A file with a mistake is refused whole.

A URL without a port means 80 (http) or 443 (https). A trailing slash makes no difference. Variables by which
Kubernetes describes a service called `balancer` (`BALANCER_SERVICE_HOST`, `BALANCER_PORT=tcp://…`) are passed over.
"""

_ALIASES_HEAD = """
## Names known from elsewhere

They stand wherever the setting may, where they mean the same. Both at once with different values are a mistake.
"""


def page() -> str:
    parts = [_HEAD]
    for group in GROUPS:
        parts.append(f"\n## {group.__name__}\n\n{_table(group.model_fields, with_flags=True)}")
        for title, model in INNER.get(group, ()):
            parts.append(f"\n### {title}\n\n{_table(model.model_fields, with_flags=False)}")
    parts.append(f"{_ALIASES_HEAD}\n{_aliases()}")
    return "".join(parts)


def flag_help(setting: str) -> str:
    field = Settings.model_fields[setting]
    core = unwrapped(field.annotation)
    choices = describe(field.annotation) if get_origin(core) is Literal else ""
    also = [flag(alias.name) for alias in ALIASES if alias.setting == setting]
    default = _default(field)
    return " ".join(
        part
        for part in (
            " ".join((field.description or "").split()).replace("`", ""),
            f"One of {choices}." if choices else "",
            f"Default: {default}." if default else "",
            f"--no-{flag(setting).removeprefix('--')} turns it off." if core is bool else "",
            f"Also: {', '.join(also)}." if also else "",
        )
        if part
    )


def metavar(setting: str) -> str:
    """What stands behind the flag in its help: a unit, or what kind of thing it is."""
    field = Settings.model_fields[setting]
    core = unwrapped(field.annotation)
    if get_origin(core) is tuple:
        return f"{noun(get_args(core)[0]).rpartition(' ')[2].upper()}..."
    if get_origin(core) is dict:
        return "JSON"
    if get_origin(core) is Literal:
        return "NAME"
    if core is bool:
        return ""
    kind = noun(field.annotation, field.metadata)
    return {"whole number": "N", "file path": "FILE"}.get(kind, kind.upper())


def _table(fields: dict[str, FieldInfo], *, with_flags: bool) -> str:
    lines = ["| Key | Value | Default | Meaning |", "| --- | --- | --- | --- |"]
    for key, field in fields.items():
        name = f"`{key}`<br>`{flag(key)}`<br>`{variable(key)}`" if with_flags else f"`{key_of((key, field))}`"
        default = _default(field)
        cells = [
            name,
            describe(field.annotation, field.metadata),
            f"`{default}`" if default else "",
            " ".join((field.description or "").split()) + " (restart)" * (AT_START in field.metadata),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _aliases() -> str:
    lines = ["| Name | Means | Known from | |", "| --- | --- | --- | --- |"]
    for alias in ALIASES:
        lines.append(f"| `{alias.name}` | `{alias.setting}` | {alias.known_from} | {alias.note} |")
        if alias.name == STATIC_BACKENDS:
            note = "the model of each of `static_backends`, with commas between"
            lines.append(f"| `{STATIC_MODELS}` | `replicas[].models` | {PRODUCTION_STACK} | {note} |")
    for setting, values in VALUE_ALIASES.items():
        for value, ours in values.items():
            lines.append(f"| `{setting}: {value}` | `{setting}: {ours}` | vllm-router | |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    """Empty where a description says what happens without a value."""
    default: Any = field.default
    match default:
        case None | () | "":
            return ""
        case bool():
            return str(default).lower()
        case tuple():
            return " ".join(map(str, default))
        case BaseModel():
            return ""
    return "" if default is PydanticUndefined else str(default)
