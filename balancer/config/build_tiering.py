"""Settings of tiering to core objects."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from balancer.config.classifier_entry import ClassifierEntry
from balancer.config.regexes import pattern_of
from balancer.config.tiering import ArmEntry, TierEntry, Tiering, VirtualEntry
from balancer.config.tiering_kinds import DAYS
from balancer.config.tiering_rules import ConditionEntry, DecisionEntry, SignalEntry, TenantEntry
from balancer.core.tiering.budget import TenantPolicy
from balancer.core.tiering.catalog import Catalog
from balancer.core.tiering.rules import Condition, DecisionRule, Rules
from balancer.core.tiering.signals import (
    Complexity,
    Feedback,
    Language,
    Length,
    Signal,
    Structure,
    Tenant,
    TimeOfDay,
    keywords,
)
from balancer.core.tiering.types import (
    Abilities,
    Arm,
    Canary,
    Experiment,
    Fallback,
    Price,
    QualityFloor,
    StrongShare,
    Target,
    Threshold,
    Tier,
    Trouble,
    VirtualModel,
)
from balancer.core.types import ReplicaId

PROVIDER_ATTEMPTS = 2
DOMAIN_WORDS = 2


@dataclass(frozen=True, slots=True)
class Provider:
    """An external provider: a replica of the fleet, of the name of its tier, and its own limits."""

    tier: str
    model: str
    url: str
    key: str | None = field(repr=False)
    max_in_flight: int | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_attempts: int
    first_token_timeout_s: float | None


@dataclass(frozen=True, slots=True)
class Built:
    """`tenants` are for a Budget, which outlives a change of the settings. `classifiers` are those that virtual models
    ask, by the names that they have there.
    """

    catalog: Catalog
    rules: Rules
    tenants: Mapping[str, TenantPolicy]
    classifiers: Mapping[str, ClassifierEntry]
    providers: tuple[Provider, ...] = ()


def make_tiering(settings: Tiering, environ: Mapping[str, str]) -> Built | None:
    """None, if nothing of it is configured: then nothing of it is computed. `environ` holds the keys of providers."""
    if not (settings.tiers or settings.virtual_models or settings.model_aliases or settings.tenants):
        return None
    virtuals = [_virtual(name, entry) for name, entry in settings.virtual_models.items()]
    arms = (arm.virtual for v in virtuals if v.experiment is not None for arm in v.experiment.arms)
    asked = {v.classifier for v in (*virtuals, *arms) if len(v.tiers) > 1}
    return Built(
        Catalog(
            [_tier(name, entry) for name, entry in settings.tiers.items()], virtuals, settings.model_aliases
        ),
        make_rules(settings),
        {name: _policy(entry) for name, entry in settings.tenants.items()},
        {entry.key: entry for _, entry in settings.classifiers() if entry.key in asked},
        tuple(_provider(name, entry, environ) for name, entry in settings.tiers.items() if entry.url),
    )


def make_rules(settings: Tiering) -> Rules:
    return Rules(
        {name: _signal(entry) for name, entry in settings.signals.items()},
        tuple(_decision(entry) for entry in settings.decisions),
    )


def _tier(name: str, entry: TierEntry) -> Tier:
    can, prices = entry.can, entry.usd_per_mtok
    if entry.url is not None:
        replicas: frozenset[ReplicaId] | None = frozenset({ReplicaId(name)})
    else:
        replicas = None if entry.replicas is None else frozenset(map(ReplicaId, entry.replicas))
    return Tier(
        name,
        entry.model,
        replicas,
        None if prices is None else Price(prices.input, prices.output, prices.cached_input),
        entry.replica_usd_per_hour,
        Abilities(
            can.images,
            can.audio,
            can.tools,
            can.structured,
            None if can.languages is None else frozenset(can.languages),
            can.context_tokens,
        ),
        external=entry.url is not None,
    )


def _provider(name: str, entry: TierEntry, environ: Mapping[str, str]) -> Provider:
    assert entry.url is not None
    return Provider(
        name,
        entry.model,
        entry.url,
        None if entry.api_key_env is None else environ.get(entry.api_key_env),
        entry.max_in_flight,
        entry.requests_per_minute,
        entry.tokens_per_minute,
        entry.max_attempts or PROVIDER_ATTEMPTS,
        entry.first_token_timeout_s,
    )


def _virtual(name: str, entry: VirtualEntry) -> VirtualModel:
    canary = entry.canary
    made = VirtualModel(
        name,
        entry.tiers,
        _target(entry) or Threshold(0.0),
        entry.default or entry.tiers[-1],
        entry.classifier.key,
        tuple(Fallback(each.to, frozenset(map(Trouble, each.on))) for each in entry.fallback),
        entry.sticky,
        entry.shadow,
        entry.explore,
        None if canary is None else Canary(canary.to, canary.share, canary.instead_of),
    )
    if entry.experiment is None:
        return made
    test = entry.experiment.name
    arms = tuple(
        Arm(arm, each.share, _arm(f"{name}@{test}/{arm}", made, each))
        for arm, each in entry.experiment.arms.items()
    )
    return replace(made, experiment=Experiment(test, arms))


def _arm(name: str, of: VirtualModel, entry: ArmEntry) -> VirtualModel:
    tiers = entry.tiers or of.tiers
    default = entry.default or (of.default if of.default in tiers and entry.tiers is None else tiers[-1])
    return replace(
        of,
        name=name,
        tiers=tiers,
        target=_target(entry) or of.target,
        default=default,
        classifier=of.classifier if entry.classifier is None else entry.classifier.key,
    )


def _target(entry: VirtualEntry | ArmEntry) -> Target | None:
    if entry.strong_share is not None:
        return StrongShare(entry.strong_share)
    if entry.quality_floor is not None:
        return QualityFloor(entry.quality_floor)
    return None if entry.threshold is None else Threshold(entry.threshold)


def _signal(entry: SignalEntry) -> Signal:
    if entry.keywords is not None:
        return keywords(entry.keywords, entry.at_least or 1)
    if entry.domain is not None:
        return keywords(entry.domain, entry.at_least or DOMAIN_WORDS)
    if entry.regex is not None:
        return pattern_of(entry.regex)
    if entry.language is not None:
        return Language(frozenset(entry.language))
    if entry.length is not None:
        most = float("inf") if entry.length.max is None else entry.length.max
        return Length(entry.length.min, most, tokens=entry.length.unit == "tokens")
    if entry.structure is not None:
        return Structure(frozenset(entry.structure))
    if entry.complexity is not None:
        return Complexity(entry.complexity.at_least, entry.complexity.below)
    if entry.time is not None:
        days = frozenset(map(DAYS.index, entry.time.days))
        return TimeOfDay(entry.time.start, entry.time.end, days, 60 * entry.time.utc_offset)
    if entry.tenant is not None:
        return Tenant(frozenset(entry.tenant))
    return Feedback()


def _condition(entry: ConditionEntry) -> Condition:
    if entry.all is not None:
        return Condition(all=tuple(map(_condition, entry.all)))
    if entry.any is not None:
        return Condition(any=tuple(map(_condition, entry.any)))
    if entry.none is not None:
        return Condition(none=_condition(entry.none))
    return Condition(entry.signal or "")


def _decision(entry: DecisionEntry) -> DecisionRule:
    then = entry.then
    return DecisionRule(
        entry.name,
        _condition(entry.when),
        entry.priority,
        then.tiers or (() if then.tier is None else (then.tier,)),
        then.min_tier,
        then.deny,
    )


def _policy(entry: TenantEntry) -> TenantPolicy:
    return TenantPolicy(
        None if entry.tiers is None else frozenset(entry.tiers),
        entry.min_tier,
        entry.usd_per_day,
        entry.when_spent == "weakest",
    )
