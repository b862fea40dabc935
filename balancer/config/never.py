"""Rules that can never match, tiers that nobody names, and what else is no mistake and hardly meant.

A condition is brought to a list of conjunctions. One is impossible, if it asks for a signal and its opposite, or if nothing
satisfies all its signals of one kind: tried are the values at which any of them turns (the ends of lengths, scores and times, the
languages and tenants that are named), by the signals' own code. That a rule stands in the shadow of another follows from the
same: what the other asks for cannot be missing where the first one matches.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import product

from balancer.config.build_tiering import make_rules
from balancer.config.tiering import Tiering
from balancer.core.tiering.rules import Condition, DecisionRule
from balancer.core.tiering.signals import (
    Complexity,
    Feedback,
    Keywords,
    Language,
    Length,
    Seen,
    Signal,
    Tenant,
    TimeOfDay,
)
from balancer.core.tiering.types import Score, Text

MAX_TERMS = 512

Literal = tuple[str, bool]
"""A signal, and whether it holds."""

Term = frozenset[Literal]


def warnings(settings: Tiering, tenants: Iterable[str] | None) -> list[str]:
    """`tenants` are those that can be known; None: any can."""
    known = None if tenants is None else frozenset(tenants)
    return [
        *_decisions(settings, known),
        *_tiers(settings),
        *_signals(settings),
        *_tenants(settings, known),
        *_virtuals(settings),
    ]


def _decisions(settings: Tiering, tenants: frozenset[str] | None) -> Iterator[str]:
    rules = make_rules(settings)
    logic = _Logic(rules.signals, tenants)
    before: list[tuple[DecisionRule, list[Term] | None]] = []
    for rule in rules.decisions:
        at = f"decision `{rule.name}`"
        terms = logic.terms(rule.when)
        if terms is not None:
            possible = [term for term in terms if not logic.impossible(term)]
            if not possible:
                yield f"{at} can never match: {logic.why(terms)}"
                continue
            above = (
                each
                for each, its in before
                if its and logic.covers(its, possible) and _takes(each, rule, settings)
            )
            shadow = next(above, None)
            if shadow is not None:
                yield f"{at} can never match: `{shadow.name}` goes first, and matches whenever it would"
            if rule.final:
                before.append((rule, possible))
        if rule.deny is None and not any(_applies(rule, v.tiers) for v in settings.virtual_models.values()):
            named = rule.min_tier or ", ".join(rule.tiers)
            yield f"{at} changes nothing: no virtual model has {named}"


def _applies(rule: DecisionRule, tiers: Sequence[str]) -> bool:
    return rule.deny is not None or rule.min_tier in tiers or any(tier in tiers for tier in rule.tiers)


def _takes(above: DecisionRule, rule: DecisionRule, settings: Tiering) -> bool:
    """Whether the one above is not passed over wherever the other applies."""
    return all(
        _applies(above, virtual.tiers)
        for virtual in settings.virtual_models.values()
        if _applies(rule, virtual.tiers)
    )


class _Logic:
    def __init__(self, signals: Mapping[str, Signal], tenants: frozenset[str] | None) -> None:
        self._signals = signals
        self._tenants = tenants

    def terms(self, condition: Condition, *, holds: bool = True) -> list[Term] | None:
        """Of which one must hold; None, if there are too many of them."""
        if condition.none is not None:
            return self.terms(condition.none, holds=not holds)
        many = condition.all if condition.all is not None else condition.any
        if many is None:
            return [frozenset({(condition.signal, holds)})]
        each = [self.terms(one, holds=holds) for one in many]
        found: list[Term] = []
        if (condition.all is not None) == holds:
            size = reduce(lambda n, terms: n * (MAX_TERMS + 1 if terms is None else len(terms)), each, 1)
            if size > MAX_TERMS:
                return None
            found += (frozenset().union(*chosen) for chosen in product(*(terms or [] for terms in each)))
        else:
            for terms in each:
                if terms is None or len(found) + len(terms) > MAX_TERMS:
                    return None
                found += terms
        return found

    def impossible(self, term: Term) -> bool:
        names = {name for name, _ in term}
        if len(names) < len(term):
            return True
        kinds: dict[object, list[tuple[Signal, bool]]] = {}
        for name, holds in term:
            signal = self._signals[name]
            if holds and isinstance(signal, Keywords) and len(signal.words) < signal.at_least:
                return True
            kinds.setdefault(_kind(signal), []).append((signal, holds))
        return any(not self._satisfiable(signals) for kind, signals in kinds.items() if kind is not None)

    def covers(self, above: list[Term], terms: list[Term]) -> bool:
        """Whether each of the terms implies one of those above."""
        return all(any(self._implies(term, one) for one in above) for term in terms)

    def _implies(self, term: Term, other: Term) -> bool:
        return all(
            literal in term or self.impossible(term | {(literal[0], not literal[1])}) for literal in other
        )

    def _satisfiable(self, signals: list[tuple[Signal, bool]]) -> bool:
        candidates = (case for signal, _ in signals for case in _cases(signal, self._tenants))
        return any(all(signal.holds(case) == holds for signal, holds in signals) for case in candidates)

    def why(self, terms: list[Term]) -> str:
        for name in sorted({name for term in terms for name, holds in term if holds}):
            if self.impossible(frozenset({(name, True)})):
                return f"signal `{name}` never holds"
        return "its signals exclude each other"


def _kind(signal: Signal) -> object:
    """Signals of one kind look at one thing; None: at nothing that can be tried out here."""
    if isinstance(signal, Length):
        return (Length, signal.tokens)
    known: tuple[type[Signal], ...] = (Language, Complexity, TimeOfDay, Tenant, Feedback)
    return type(signal) if isinstance(signal, known) else None


def _cases(signal: Signal, tenants: frozenset[str] | None) -> Iterator[Seen]:
    """Requests at the values where the signal turns, and one beyond all of them."""
    match signal:
        case Length():
            for count in (0, signal.least, signal.most + 1):
                if count != float("inf"):
                    yield _seen(int(count))
        case Language():
            for language in (None, *signal.languages):
                seen = _seen()
                seen.__dict__["language"] = language
                yield seen
        case Complexity():
            for value in (None, 0.0, signal.least, signal.most):
                yield _seen(score=None if value is None else Score(value))
        case TimeOfDay():
            for day in range(8):
                for minute in (0, signal.start, signal.end):
                    yield _seen(wall_s=day * 86_400 + minute * 60 - signal.offset_s)
        case Tenant():
            named = signal.tenants if tenants is None else signal.tenants & tenants
            for tenant in ("", "\0 another", *named):
                yield _seen(tenant=tenant)
        case Feedback():
            yield _seen()
            yield _seen(rating=0.0)


def _seen(
    length: int = 0,
    *,
    score: Score | None = None,
    wall_s: float = 0.0,
    tenant: str = "",
    rating: float | None = None,
) -> Seen:
    return Seen(
        Text("", length), tokens=length, tenant=tenant, wall_s=wall_s, rating=rating, score=lambda: score
    )


def _tiers(settings: Tiering) -> Iterator[str]:
    named = set(settings.model_aliases.values())
    for virtual in settings.virtual_models.values():
        named |= {*virtual.tiers, *(each.to for each in virtual.fallback)}
        named |= {virtual.canary.to} if virtual.canary is not None else set()
        if virtual.experiment is not None:
            named.update(*(arm.tiers or () for arm in virtual.experiment.arms.values()))
    for name, tier in settings.tiers.items():
        if name not in named and tier.model not in named:
            yield f"tier `{name}` is named by no virtual model"


def _signals(settings: Tiering) -> Iterator[str]:
    def named(condition: Condition) -> Iterator[str]:
        for each in (*(condition.all or ()), *(condition.any or ()), *filter(None, (condition.none,))):
            yield from named(each)
        yield condition.signal

    used = {name for rule in make_rules(settings).decisions for name in named(rule.when)}
    for name in settings.signals:
        if name not in used:
            yield f"signal `{name}` is used by no decision"


def _tenants(settings: Tiering, tenants: frozenset[str] | None) -> Iterator[str]:
    for name in settings.tenants if tenants is not None else ():
        if name != "*" and name not in (tenants or ()):
            yield f"tenant `{name}` is never known: no API key has that name, and there is no tenant_header"


def _virtuals(settings: Tiering) -> Iterator[str]:
    for name, virtual in settings.virtual_models.items():
        if len(virtual.tiers) == 1 and virtual.experiment is None:
            for target in ("strong_share", "quality_floor", "threshold", "explore", "shadow"):
                if getattr(virtual, target):
                    yield f"virtual model `{name}`: {target} changes nothing, since there is one tier"
