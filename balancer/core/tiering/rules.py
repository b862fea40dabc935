"""What narrows the tiers before any score is asked: first what cannot or may not serve the request, then the user's decisions.

Hard rules, in this order: what the request allows, the tenant's tiers, the least tier, images, audio, tools, structured output,
languages, prices, the context, the tenant's budget. A tier of which something is not known is not kept out by it. If they leave
nobody, the request is refused, and the refusal names the rule that took the last ones.

Decisions, the highest priority first: each that matches narrows what is left. `min_tier` goes on to the next, `tier`, `tiers` and
`deny` end it. A decision that would leave nobody is passed over: it is a preference, and so does not bind fallbacks either. What
must never happen is a tenant's policy.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from balancer.core.errors import Refused, budget_spent, cannot_serve, forbidden
from balancer.core.tiering.budget import Budget
from balancer.core.tiering.signals import Seen, Signal
from balancer.core.tiering.types import Ask, Price, Text, Tier

ANSWER_TOKENS = 1024
"""What an answer needs at least to be worth its prompt, where the request sets no limit."""

SURE = 2.0
"""A prompt's tokens are an estimate, and off by less than this: only beyond it is a prompt refused for its length; short of it
the tier with the most room gets it, and its engine counts.
"""


Tiers = tuple[Tier, ...]


class Condition(NamedTuple):
    """One of: the name of a signal; conditions of which all hold; of which any does; one that does not."""

    signal: str = ""
    all: tuple["Condition", ...] | None = None
    any: tuple["Condition", ...] | None = None
    none: "Condition | None" = None

    def holds(self, named: Callable[[str], bool]) -> bool:
        if self.all is not None:
            return all(each.holds(named) for each in self.all)
        if self.any is not None:
            return any(each.holds(named) for each in self.any)
        if self.none is not None:
            return not self.none.holds(named)
        return named(self.signal)


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """`tiers` in this order of preference or `min_tier` is what is left of the options; `deny` is what the client is told."""

    name: str
    when: Condition
    priority: int = 0
    tiers: tuple[str, ...] = ()
    min_tier: str | None = None
    deny: str | None = None

    @property
    def final(self) -> bool:
        return self.min_tier is None


@dataclass(frozen=True, slots=True)
class Rules:
    """`decisions` are brought into the order in which they are tried: by priority, then as they were written."""

    signals: Mapping[str, Signal] = field(default_factory=dict)
    decisions: tuple[DecisionRule, ...] = ()

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.decisions, key=lambda rule: -rule.priority))
        object.__setattr__(self, "decisions", ordered)

    def decided(self, options: Sequence[Tier], seen: Seen) -> tuple[tuple[Tier, ...], str]:
        """What is left of the options, and by which decisions. `options` are the weakest first.

        Raises: Refused, 403, by a decision that says so.
        """
        left, names, known = tuple(options), [], dict[str, bool]()

        def holds(signal: str) -> bool:
            if signal not in known:
                known[signal] = self.signals[signal].holds(seen)
            return known[signal]

        for rule in self.decisions:
            narrowed = left
            if rule.min_tier is not None:
                narrowed = at_least(left, rule.min_tier, options)
            elif rule.deny is None:
                narrowed = tuple(tier for tier in left if tier.name in rule.tiers)
                if len(rule.tiers) == 1 and not narrowed:
                    continue
            if not narrowed or not rule.when.holds(holds):
                continue
            if rule.deny is not None:
                raise forbidden(rule.deny, "model")
            if narrowed != left:
                names.append(rule.name)
            left = narrowed
            if rule.final:
                break
        return left, "+".join(names)


@dataclass(frozen=True, slots=True)
class Case:
    """All that hard rules look at. `ladder` is the order of strength that a least tier refers to; `contexts` the most tokens that
    a tier's replicas take, None where they have not told.
    """

    ask: Ask
    text: Text
    tenant: str
    prompt_tokens: int
    contexts: Mapping[str, int | None]
    wall_s: float
    language: Callable[[], str | None]
    price: Callable[[Tier], Price | None]
    budget: Budget
    ladder: Tiers


def narrow(options: Sequence[Tier], case: Case) -> tuple[Tiers, str]:
    """Those of the options that can and may serve the request, in their order, and the rule that took the last of the others.

    Raises: Refused, naming why none is left.
    """
    left, last = tuple(options), ""
    for name, rule in _HARD:
        before = left
        left = rule(left, case)
        if len(left) < len(before):
            last = name
    return left, last


def _only(left: Tiers, case: Case) -> Tiers:
    only = case.ask.only
    if only is None:
        return left
    return _kept(tuple(tier for tier in left if tier.name in only), "what the request allows", "model")


def _ignore(left: Tiers, case: Case) -> Tiers:
    ignore = case.ask.ignore
    if not ignore:
        return left
    return _kept(
        tuple(tier for tier in left if not named(tier, ignore)), "what the request ignores", "provider.ignore"
    )


def _tenant(left: Tiers, case: Case) -> Tiers:
    policy = case.budget.policy(case.tenant) if case.budget.policies else None
    if policy is None:
        return left
    if policy.tiers is not None:
        left = tuple(tier for tier in left if tier.name in policy.tiers)
    if policy.min_tier is not None and any(tier.name == policy.min_tier for tier in case.ladder):
        left = at_least(left, policy.min_tier, case.ladder)
    if not left:
        raise forbidden("This key may not use any tier that could serve this request.", "model")
    return left


def _budget(left: Tiers, case: Case) -> Tiers:
    policy = case.budget.policy(case.tenant) if case.budget.policies else None
    if policy is None or case.budget.left(case.tenant, case.wall_s) != 0:
        return left
    if not policy.weakest_when_spent:
        raise spent(case.wall_s)
    return left[:1]


def _min_tier(left: Tiers, case: Case) -> Tiers:
    weakest = case.ask.min_tier
    if weakest is None:
        return left
    return _kept(at_least(left, weakest, case.ladder), f"the least tier, `{weakest}`", "model")


def _images(left: Tiers, case: Case) -> Tiers:
    return _able(left, "images", "its images") if case.text.images else left


def _audio(left: Tiers, case: Case) -> Tiers:
    return _able(left, "audio", "its audio") if case.text.audio else left


def _tools(left: Tiers, case: Case) -> Tiers:
    return _able(left, "tools", "its tools") if case.text.tools else left


def _structured(left: Tiers, case: Case) -> Tiers:
    return _able(left, "structured", "the structured output it asks for") if case.text.structured else left


def _language(left: Tiers, case: Case) -> Tiers:
    if all(tier.abilities.languages is None for tier in left):
        return left
    language = case.language()
    if language is None:
        return left
    able = tuple(t for t in left if t.abilities.languages is None or language in t.abilities.languages)
    return _kept(able, f"its language, `{language}`", None)


def _max_price(left: Tiers, case: Case) -> Tiers:
    most = case.ask.max_price
    if most is None:
        return left
    cheap = tuple(tier for tier in left if _affordable(tier, case.price(tier), most))
    return _kept(cheap, "the most it may cost", "provider.max_price")


def _context(left: Tiers, case: Case) -> Tiers:
    """Those whose context holds the prompt and a fair answer, or else the answer that was asked for."""
    rooms = {tier.name: _room(tier, case) for tier in left}
    limits = [room for room in rooms.values() if room is not None]
    if not limits:
        return left
    asked = case.text.answer_tokens
    for answer in dict.fromkeys((ANSWER_TOKENS if asked is None else asked, asked or 0)):
        able = tuple(
            t for t in left if (room := rooms[t.name]) is None or case.prompt_tokens + answer <= room
        )
        if able:
            return able
    largest = max(limits)
    if case.prompt_tokens / SURE + (asked or 0) > largest:
        raise cannot_serve(
            f"This prompt of about {case.prompt_tokens} tokens, with {asked or 0} for the answer, is longer than the"
            f" {largest} tokens of the longest context that may serve it.",
            "messages",
            "context_length_exceeded",
        )
    return tuple(tier for tier in left if rooms[tier.name] == largest)


_HARD: tuple[tuple[str, Callable[[Tiers, Case], Tiers]], ...] = (
    ("only", _only),
    ("ignore", _ignore),
    ("tenant", _tenant),
    ("min_tier", _min_tier),
    ("images", _images),
    ("audio", _audio),
    ("tools", _tools),
    ("structured", _structured),
    ("language", _language),
    ("max_price", _max_price),
    ("context", _context),
    ("budget", _budget),
)
ASKED = frozenset({"only", "ignore", "min_tier", "max_price"})
"""Hard rules that the request itself has set."""


def named(tier: Tier, names: Collection[str]) -> bool:
    """By its own name or its model's."""
    return tier.name in names or tier.model in names


def at_least(options: Sequence[Tier], weakest: str, ladder: Sequence[Tier]) -> tuple[Tier, ...]:
    """Those from `weakest` on; none, if it is not on the ladder."""
    names = [tier.name for tier in ladder]
    if weakest not in names:
        return ()
    strong = set(names[names.index(weakest) :])
    return tuple(tier for tier in options if tier.name in strong)


def spent(wall_s: float) -> Refused:
    return budget_spent("Today's budget of this key is spent.", Budget.renewed_in_s(wall_s))


def _affordable(tier: Tier, price: Price | None, most: Price) -> bool:
    """Replicas of one's own, of which nobody told what they cost, cost nothing for a request; a provider always does."""
    if price is None:
        return not tier.external
    return price.input <= most.input and price.output <= most.output


def _room(tier: Tier, case: Case) -> int | None:
    stated = tier.abilities.context_tokens
    return case.contexts.get(tier.name) if stated is None else stated


def _able(left: Tiers, ability: str, what: str) -> Tiers:
    return _kept(tuple(tier for tier in left if getattr(tier.abilities, ability) is not False), what, None)


def _kept(left: Tiers, what: str, param: str | None) -> Tiers:
    if not left:
        raise cannot_serve(f"No tier that may serve this request can, for {what}.", param)
    return left
