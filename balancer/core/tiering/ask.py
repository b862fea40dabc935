"""What a request says of who should serve it, in the words of those whose clients ask here.

- `model`: a virtual model or an alias; RouteLLM's `router-NAME-THRESHOLD`, where NAME is a virtual model, or a classifier that
  one uses; OpenRouter's endings `:floor` (the cheapest) and `:nitro` (the fastest).
- OpenRouter's `models` (fallbacks, in order), its older `route: "fallback"`, of its `provider` what can be kept here, and of its
  `plugins` the auto-router and response healing.
- A header, which stands in for `model` and may also name a tier, or with `>=` before it the weakest that will do.

A concrete model's name is what it says, and only what it says: who asks for one and for nothing else gets it. What can't be kept
is refused by name, for silence would look like consent. Sources: RouteLLM 0.2 controller.py, OpenRouter's API reference,
"Provider Routing", "Model Routing" and "Plugins", November 2026.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from balancer.core.errors import bad_field
from balancer.core.tiering.catalog import Catalog
from balancer.core.tiering.types import Ask, Price, Sort
from balancer.core.types import Json

MAX_NAMES = 32
MAX_NAME_CHARS = 256

CONSUMED = ("models", "route", "provider", "plugins")
"""Fields of the body that are answered here: no replica gets them."""

_SUFFIXES = {":floor": Sort.PRICE, ":nitro": Sort.THROUGHPUT}
_ROUTER = "router-"
_PROVIDER = ("order", "only", "ignore", "allow_fallbacks", "max_price", "sort")
_MAX_PRICE = ("prompt", "completion")
_AUTO_ROUTER = ("id", "enabled", "allowed_models", "cost_quality_tradeoff")


def read_ask(
    fields: Json, header: str | None, catalog: Catalog, header_name: str = "x-balancer-tier"
) -> Ask | None:
    """None: a concrete model, and nothing said of who should serve it, or no body that could say so. `fields` is the decoded
    body, `header` what the header says, if it was sent.

    Raises: Refused, 400, with the field or the header in `param`.
    """
    if not isinstance(fields, dict):
        return None
    model = fields.get("model")
    stated = model if isinstance(model, str) else None
    models = _models(fields)
    if stated is None and models:  # OpenRouter's other way to write it
        stated, *rest = models
        models = tuple(rest)
    ask = _named(stated, catalog) if stated is not None else None
    if header:
        ask = _by_header(header.strip(), ask, catalog, header_name)
    prefers = fields.get("provider") is not None or fields.get("models") is not None
    if ask is None:
        if stated is None or not prefers:
            return None
        ask = Ask(catalog.resolved(stated))
    _route(fields)
    if models:
        ask = replace(ask, models=tuple(catalog.resolved(name) for name in models))
    if fields.get("provider") is not None:
        ask = _with_provider(ask, fields["provider"], catalog)
    if fields.get("plugins") is not None:
        ask = _with_plugins(ask, fields["plugins"], catalog)
    return ask


def _named(name: str, catalog: Catalog) -> Ask | None:
    """What the name alone asks for; None for a concrete model."""
    end = catalog.resolved(name)
    if end in catalog.virtuals or end != name:
        return Ask(end)
    if catalog.pools(name):
        return None
    for suffix, sort in _SUFFIXES.items():
        if name.endswith(suffix):
            end = catalog.resolved(name.removesuffix(suffix))
            known = end in catalog.virtuals or catalog.pools(end)
            return Ask(end, sort=sort) if known else None
    if name.startswith(_ROUTER) and catalog.virtuals:
        return _router(name, catalog)
    return None


def _router(name: str, catalog: Catalog) -> Ask:
    """RouteLLM's: whatever scores at least the threshold goes to the strong model."""
    _, router, threshold = [*name.split("-", 2), ""][:3]
    virtual = catalog.virtuals.get(router)
    if virtual is None:
        using = (v for v in catalog.virtuals.values() if v.classifier == router and len(v.tiers) > 1)
        virtual = next(using, None)
    if virtual is None:
        known = {*catalog.virtuals, *(v.classifier for v in catalog.virtuals.values() if len(v.tiers) > 1)}
        names = ", ".join(sorted(each for each in known if "-" not in each and "/" not in each))
        raise bad_field("model", f"router-NAME-THRESHOLD, where NAME is one of {names}")
    try:
        value = float(threshold)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise bad_field("model", f"router-{router}-THRESHOLD with a threshold in [0, 1]")
    return Ask(virtual.name, threshold=value)


def _by_header(header: str, ask: Ask | None, catalog: Catalog, header_name: str) -> Ask | None:
    if header.startswith(">="):
        weakest = header[2:].strip()
        if weakest not in catalog.tiers:
            raise bad_field(header_name, f"`>=` and one of the tiers {', '.join(catalog.tiers)}")
        return None if ask is None else replace(ask, min_tier=weakest)
    if header in catalog.tiers and ask is not None and header in catalog.members(ask.name):
        return replace(ask, only=frozenset({header}))
    return _named(header, catalog) or Ask(header)


def _models(fields: dict[str, Any]) -> tuple[str, ...]:
    models = fields.get("models")
    return () if models is None else _names(models, "models")


def _route(fields: dict[str, Any]) -> None:
    route = fields.get("route")
    if route is not None and route != "fallback":
        raise bad_field("route", '"fallback"')


def _with_provider(ask: Ask, provider: Json, catalog: Catalog) -> Ask:
    known = _object(provider, "provider", _PROVIDER)
    order = _names(known.get("order", ()), "provider.order")
    if "only" in known:
        wanted = _names(known["only"], "provider.only")
        ask = _restricted(ask, lambda name: name in wanted, "provider.only", catalog)
    fallbacks = known.get("allow_fallbacks", True)
    if not isinstance(fallbacks, bool):
        raise bad_field("provider.allow_fallbacks", "true or false")
    sort = known.get("sort")
    if sort is not None and sort not in tuple(Sort):
        raise bad_field("provider.sort", " or ".join(f'"{each}"' for each in Sort))
    return replace(
        ask,
        order=order,
        ignore=frozenset(_names(known.get("ignore", ()), "provider.ignore")),
        allow_fallbacks=fallbacks,
        max_price=_max_price(known.get("max_price")),
        sort=ask.sort if sort is None else Sort(sort),
    )


def _restricted(ask: Ask, fits: Callable[[str], bool], at: str, catalog: Catalog) -> Ask:
    """To those tiers whose name or model fits, of all that may come to serve the request."""
    tiers = [catalog.tier(name) for each in (ask.name, *ask.models) for name in catalog.members(each)]
    fitting = {tier.name for tier in tiers if fits(tier.name) or fits(tier.model)}
    allowed = fitting if ask.only is None else fitting & ask.only
    if not allowed:
        raise bad_field(at, f"at least one of {', '.join(dict.fromkeys(tier.name for tier in tiers))}")
    return replace(ask, only=frozenset(allowed))


def _max_price(value: Json) -> Price | None:
    """USD per million tokens, as numbers or as text."""
    if value is None:
        return None
    known = _object(value, "provider.max_price", _MAX_PRICE)
    return Price(*(_usd(known.get(part, math.inf), f"provider.max_price.{part}") for part in _MAX_PRICE))


def _usd(value: Json, param: str) -> float:
    try:
        usd = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        usd = math.nan
    if not usd >= 0:
        raise bad_field(param, "USD per million tokens, at least 0")
    return usd


def _with_plugins(ask: Ask, plugins: Json, catalog: Catalog) -> Ask:
    if not isinstance(plugins, list) or len(plugins) > MAX_NAMES:
        raise bad_field("plugins", "a list of plugins")
    for index, plugin in enumerate(plugins):
        at = f"plugins[{index}]"
        identity = plugin.get("id") if isinstance(plugin, dict) else None
        match identity:
            case "auto-router":
                ask = _auto_router(ask, _object(plugin, at, _AUTO_ROUTER), at, catalog)
            case "response-healing":
                ask = replace(ask, heal=_enabled(_object(plugin, at, ("id", "enabled")), at))
            case _:
                raise bad_field(f"{at}.id", '"auto-router" or "response-healing"')
    return ask


def _auto_router(ask: Ask, plugin: Mapping[str, Json], at: str, catalog: Catalog) -> Ask:
    """`cost_quality_tradeoff`, from 0 (quality) to 10 (cost), is ten times the threshold: scores are shares of a mix."""
    if not _enabled(plugin, at):
        return ask
    tradeoff = plugin.get("cost_quality_tradeoff")
    if tradeoff is not None:
        number = isinstance(tradeoff, int | float) and not isinstance(tradeoff, bool)
        if not number or not 0 <= tradeoff <= 10:
            raise bad_field(f"{at}.cost_quality_tradeoff", "a number from 0 to 10")
        ask = replace(ask, threshold=tradeoff / 10)
    patterns = plugin.get("allowed_models")
    if patterns is not None:
        wanted = _names(patterns, f"{at}.allowed_models")
        ask = _restricted(
            ask,
            lambda name: any(fnmatchcase(name, each) for each in wanted),
            f"{at}.allowed_models",
            catalog,
        )
    return ask


def _enabled(plugin: Mapping[str, Json], at: str) -> bool:
    enabled = plugin.get("enabled", True)
    if not isinstance(enabled, bool):
        raise bad_field(f"{at}.enabled", "true or false")
    return enabled


def _object(value: Json, at: str, known: tuple[str, ...]) -> dict[str, Json]:
    """Without what is null: it says nothing."""
    if not isinstance(value, dict):
        raise bad_field(at, f"an object of {', '.join(known)}")
    for name in value:
        if name not in known:
            raise bad_field(f"{at}.{name[:MAX_NAME_CHARS]}", f"only {', '.join(known)} in `{at}`")
    return {name: each for name, each in value.items() if each is not None}


def _names(value: Json, at: str) -> tuple[str, ...]:
    right = isinstance(value, list | tuple) and len(value) <= MAX_NAMES
    if not right or not all(isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARS for name in value):
        raise bad_field(at, f"a list of at most {MAX_NAMES} names")
    return tuple(value)
