"""What is wrong between the settings of tiering: names that nothing stands behind, two values where one can hold, circles."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from balancer.config.mistakes import Contradiction, nearest
from balancer.config.tiering import ArmEntry, TierEntry, Tiering, VirtualEntry
from balancer.config.tiering_rules import KINDS, ConditionEntry

_NAMED_BY = {
    "tiers": {"replicas"},
    "virtual_models": {"tiers"},
    "model_aliases": {"tiers", "virtual_models"},
    "decisions": {"tiers", "signals"},
    "tenants": {"tiers"},
}
"""The settings whose names stand in another. If they cannot be read, nothing is said to be missing there."""
_PROVIDERS = (
    "api_key_env",
    "max_in_flight",
    "requests_per_minute",
    "tokens_per_minute",
    "max_attempts",
    "first_token_timeout_s",
)
TARGETS = ("strong_share", "quality_floor", "threshold")
_EFFECTS = ("tier", "tiers", "min_tier", "deny")
_SUM = 1e-6


def contradictions(settings: Tiering, replicas: Sequence[str]) -> Iterator[Contradiction]:
    """`replicas` are their names."""
    for location, expected in _found(settings, replicas):
        setting = str(location[0])
        yield Contradiction(location, expected, frozenset({setting, *_NAMED_BY.get(setting, ())}))


Found = tuple[tuple[str | int, ...], str]


def _found(settings: Tiering, replicas: Sequence[str]) -> Iterator[Found]:
    for name, tier in settings.tiers.items():
        yield from _tier(("tiers", name), name, tier, replicas)
    for name, virtual in settings.virtual_models.items():
        yield from _virtual(("virtual_models", name), name, virtual, settings)
    for where, classifier in settings.classifiers():
        yield from (((*where, *inside), expected) for inside, expected in classifier.wrong())
    yield from _aliases(settings)
    for name, signal in settings.signals.items():
        kinds = given(signal, KINDS)
        if len(kinds) != 1:
            yield ("signals", name), f"one of {', '.join(KINDS)}"
        elif signal.at_least is not None and kinds[0] not in {"keywords", "domain"}:
            yield ("signals", name, "at_least"), "`keywords` or `domain` beside it"
    names: dict[str, int] = {}
    for index, decision in enumerate(settings.decisions):
        at: tuple[str | int, ...] = ("decisions", index)
        if names.setdefault(decision.name, index) != index:
            yield (*at, "name"), f"another name than that of decisions[{names[decision.name]}]"
        yield from _condition((*at, "when"), decision.when, settings)
        if len(given(decision.then, _EFFECTS)) != 1:
            yield (*at, "then"), f"one of {', '.join(_EFFECTS)}"
        yield from _tiers_named((*at, "then"), decision.then, ("tier", "tiers", "min_tier"), settings)
    for name, tenant in settings.tenants.items():
        yield from _tiers_named(("tenants", name), tenant, ("tiers", "min_tier"), settings)


def given(entry: object, names: Iterable[str]) -> list[str]:
    return [name for name in names if getattr(entry, name) is not None]


def _tier(at: tuple[str, ...], name: str, tier: TierEntry, replicas: Sequence[str]) -> Iterator[Found]:
    if tier.url is None:
        for field in given(tier, _PROVIDERS):
            yield (*at, field), "a `url` beside it: it is for providers"
    else:
        for field in given(tier, ("replicas", "replica_usd_per_hour")):
            yield (*at, field), "no `url` beside it: it is for replicas of one's own"
        if name in replicas:
            yield at, "another name than that of a replica"
    for index, replica in enumerate(tier.replicas or ()):
        if replica not in replicas:
            yield (*at, "replicas", index), f"the name of a replica{nearest(replica, replicas)}"


def _virtual(at: tuple[str, ...], name: str, virtual: VirtualEntry, settings: Tiering) -> Iterator[Found]:
    if name in settings.tiers:
        yield at, "another name than that of a tier"
    elif any(tier.model == name for tier in settings.tiers.values()):
        yield at, "another name than that of a tier's model: who asks for a model by its name gets it"
    yield from _choice(at, virtual, virtual.tiers, settings)
    unnamed = given(virtual, TARGETS)
    if len(virtual.tiers) > 1 and not unnamed and virtual.experiment is None:
        yield at, f"one of {', '.join(TARGETS)}, since it has several tiers"
    if virtual.default is not None and virtual.default not in virtual.tiers:
        yield (*at, "default"), f"one of its tiers: {', '.join(virtual.tiers)}"
    stand_in: dict[str, int] = {}
    for index, fallback in enumerate(virtual.fallback):
        here: tuple[str | int, ...] = (*at, "fallback", index, "to")
        yield from _known(here, fallback.to, settings)
        if stand_in.setdefault(fallback.to, index) != index:
            yield here, f"another tier than fallback[{stand_in[fallback.to]}]: nobody is asked twice"
        elif virtual.tiers == (fallback.to,):
            yield here, "another tier than the only one it stands in for"
    canary = virtual.canary
    if canary is not None:
        yield from _known((*at, "canary", "to"), canary.to, settings)
        if canary.to in virtual.tiers:
            yield (*at, "canary", "to"), "a tier that is not among `tiers`"
        if canary.instead_of is not None and canary.instead_of not in virtual.tiers:
            yield (*at, "canary", "instead_of"), f"one of its tiers: {', '.join(virtual.tiers)}"
    if virtual.experiment is not None:
        yield from _experiment((*at, "experiment"), virtual, settings)


def _experiment(at: tuple[str, ...], virtual: VirtualEntry, settings: Tiering) -> Iterator[Found]:
    experiment = virtual.experiment
    assert experiment is not None
    total = sum(arm.share for arm in experiment.arms.values())
    if abs(total - 1) > _SUM:
        yield (*at, "arms"), f"shares that make 1 together, and not {total:g}"
    for name, arm in experiment.arms.items():
        here = (*at, "arms", name)
        tiers = arm.tiers or virtual.tiers
        yield from _choice(here, arm, tiers, settings)
        if len(tiers) > 1 and not given(arm, TARGETS) and not given(virtual, TARGETS):
            yield here, f"one of {', '.join(TARGETS)}, since it has several tiers"
        default = arm.default or (virtual.default if arm.tiers is None else None)
        if default is not None and default not in tiers:
            yield (*here, "default"), f"one of its tiers: {', '.join(tiers)}"


def _choice(
    at: tuple[str, ...], entry: VirtualEntry | ArmEntry, tiers: tuple[str, ...], settings: Tiering
) -> Iterator[Found]:
    """What a virtual model and an arm have alike."""
    for index, tier in enumerate(entry.tiers or ()):
        yield from _known((*at, "tiers", index), tier, settings)
        if tier in tiers[:index]:
            yield (*at, "tiers", index), "each tier once"
    targets = given(entry, TARGETS)
    for extra in targets[1:]:
        yield (*at, extra), f"no {targets[0]} beside it: one of them can hold"


def _aliases(settings: Tiering) -> Iterator[Found]:
    aliases = settings.model_aliases
    models = {tier.model for tier in settings.tiers.values()}
    for name, target in aliases.items():
        at = ("model_aliases", name)
        if name in settings.virtual_models or name in settings.tiers or name in models:
            yield at, "another name than that of a virtual model, a tier or a tier's model"
        way = [name, target]
        while way[-1] in aliases and way[-1] not in way[:-1]:
            way.append(aliases[way[-1]])
        if way[-1] == name and name == next(each for each in aliases if each in way):  # of a circle, once
            yield at, f"a name that does not lead back here: {' -> '.join(way)}"


def _condition(at: tuple[str | int, ...], condition: ConditionEntry, settings: Tiering) -> Iterator[Found]:
    kinds = given(condition, ("signal", "all", "any", "none"))
    if len(kinds) != 1:
        yield at, "the name of a signal, or one of `all`, `any` and `not`"
        return
    if condition.signal is not None and condition.signal not in settings.signals:
        yield at, f"the name of a signal{nearest(condition.signal, list(settings.signals))}"
    for index, each in enumerate(condition.all or ()):
        yield from _condition((*at, "all", index), each, settings)
    for index, each in enumerate(condition.any or ()):
        yield from _condition((*at, "any", index), each, settings)
    if condition.none is not None:
        yield from _condition((*at, "not"), condition.none, settings)


def _tiers_named(
    at: tuple[str | int, ...], entry: object, fields: Iterable[str], settings: Tiering
) -> Iterator[Found]:
    for field in fields:
        value: Any = getattr(entry, field)
        if isinstance(value, str):
            yield from _known((*at, field), value, settings)
        for index, tier in enumerate(value if isinstance(value, tuple) else ()):
            yield from _known((*at, field, index), tier, settings)


def _known(at: tuple[str | int, ...], tier: str, settings: Tiering) -> Iterator[Found]:
    if tier not in settings.tiers:
        yield at, f"the name of a tier{nearest(tier, list(settings.tiers))}"
