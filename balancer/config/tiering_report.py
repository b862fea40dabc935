"""Tiers, virtual models and rules in words, for `balancer check-config`."""

from collections.abc import Iterator

from balancer.config.tiering import ArmEntry, TierEntry, Tiering, VirtualEntry
from balancer.config.tiering_rules import ConditionEntry, DecisionEntry


def readable(settings: Tiering) -> Iterator[str]:
    """Lines; none, if nothing of it is configured."""
    if settings.tiers:
        yield "tiers"
    for name, tier in settings.tiers.items():
        yield f"  {name}: {_tier(tier)}"
    if settings.virtual_models or settings.model_aliases:
        yield "what clients may ask for"
    for name, virtual in settings.virtual_models.items():
        yield f"  {name}: {_virtual(virtual)}"
        yield from (f"    {line}" for line in _beside(virtual))
    for alias, target in settings.model_aliases.items():
        yield f"  {alias}: as {target}"
    if settings.decisions:
        yield "decisions, in the order in which they are tried"
    for decision in sorted(settings.decisions, key=lambda each: -each.priority):
        yield f"  {decision.priority:>4} {decision.name}: {condition(decision.when)} -> {_effect(decision)}"
    if settings.tenants:
        yield "tenants"
    for name, tenant in settings.tenants.items():
        may = "all tiers" if tenant.tiers is None else ", ".join(tenant.tiers)
        least = "" if tenant.min_tier is None else f", {tenant.min_tier} or stronger"
        spend = (
            ""
            if tenant.usd_per_day is None
            else f", {tenant.usd_per_day:g} USD a day, then {tenant.when_spent}"
        )
        yield f"  {name}: {may}{least}{spend}"


def condition(entry: ConditionEntry, *, inner: bool = False) -> str:
    many, word = (entry.all, " and ") if entry.all is not None else (entry.any, " or ")
    if many is not None:
        text = word.join(condition(each, inner=True) for each in many)
        return f"({text})" if inner and len(many) > 1 else text
    return f"not {condition(entry.none, inner=True)}" if entry.none is not None else entry.signal or ""


def _tier(tier: TierEntry) -> str:
    if tier.url is not None:
        key = "no key" if tier.api_key_env is None else f"key from {tier.api_key_env}"
        where = f"at {tier.url}, {key}"
    elif tier.replicas is not None:
        where = f"on {', '.join(tier.replicas)}"
    else:
        where = "on whoever serves it"
    costs = ""
    if tier.usd_per_mtok is not None:
        prices = tier.usd_per_mtok
        cached = "" if prices.cached_input is None else f", cached {prices.cached_input:g}"
        costs = f"; {prices.input:g} in and {prices.output:g} out{cached} USD per million tokens"
    if tier.replica_usd_per_hour is not None:
        costs += f"; {tier.replica_usd_per_hour:g} USD an hour for a replica"
    return f"{tier.model} {where}{costs}"


def _target(entry: VirtualEntry | ArmEntry) -> str:
    if entry.strong_share is not None:
        return f"{entry.strong_share:.4g} of the requests to stronger tiers"
    if entry.quality_floor is not None:
        return f"{entry.quality_floor:.4g} of the strongest's quality"
    return "" if entry.threshold is None else f"scores from {entry.threshold:g} on to stronger tiers"


def _virtual(virtual: VirtualEntry) -> str:
    said = [" < ".join(virtual.tiers)]
    if len(virtual.tiers) > 1:
        target = _target(virtual)
        said += [f"{target} by {virtual.classifier}"] if target else []
        said.append(f"unknown ones to {virtual.default or virtual.tiers[-1]}")
        said += ["not sticky"] * (not virtual.sticky) + ["shadow only"] * virtual.shadow
        said += [f"{virtual.explore:g} at random"] * (virtual.explore > 0)
    return "; ".join(said)


def _beside(virtual: VirtualEntry) -> Iterator[str]:
    for fallback in virtual.fallback:
        yield f"{', '.join(fallback.on)} -> {fallback.to}"
    canary = virtual.canary
    if canary is not None:
        what = "all" if canary.instead_of is None else canary.instead_of
        yield f"canary: {canary.to} in the place of {what} for {canary.share:g} of the conversations"
    if virtual.experiment is not None:
        for name, arm in virtual.experiment.arms.items():
            other = [" < ".join(arm.tiers)] if arm.tiers is not None else []
            other += [_target(arm)] if _target(arm) else []
            other += [f"by {arm.classifier}"] if arm.classifier is not None else []
            yield f"{virtual.experiment.name}/{name}: {arm.share:g}; {'; '.join(other) or 'as above'}"


def _effect(decision: DecisionEntry) -> str:
    then = decision.then
    if then.deny is not None:
        return "denied"
    return (
        f"at least {then.min_tier}"
        if then.min_tier is not None
        else " or ".join(then.tiers or (then.tier or "",))
    )
