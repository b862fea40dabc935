"""Which names stand for what: tiers, virtual models, and aliases of either or of a model that is served here."""

from collections.abc import Iterable, Mapping

from balancer.core.tiering.types import Threshold, Tier, VirtualModel


class Catalog:
    """ValueError if a virtual model names a tier that is not there, or aliases go round in a circle."""

    def __init__(
        self,
        tiers: Iterable[Tier] = (),
        virtuals: Iterable[VirtualModel] = (),
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.tiers = {tier.name: tier for tier in tiers}
        self.virtuals = {virtual.name: virtual for virtual in virtuals}
        self.aliases = {name: _end(name, aliases) for name in aliases} if aliases else {}
        for virtual in self.virtuals.values():
            _expect(self.tiers, virtual)
        self._pools: dict[str, tuple[Tier, ...]] = {}
        for tier in self.tiers.values():
            self._pools[tier.model] = (*self._pools.get(tier.model, ()), tier)

    def __repr__(self) -> str:
        return f"<Catalog {', '.join([*self.virtuals, *self.aliases])} over {', '.join(self.tiers)}>"

    def names(self) -> list[str]:
        """What clients may ask for beside the models themselves."""
        return [*self.virtuals, *self.aliases]

    def resolved(self, name: str) -> str:
        """Behind all aliases."""
        return self.aliases.get(name, name)

    def pools(self, name: str) -> tuple[Tier, ...]:
        """The tiers that `name`, a tier or a model, stands for; empty if no tier has it."""
        tier = self.tiers.get(name)
        return (tier,) if tier is not None else self._pools.get(name, ())

    def virtual(self, name: str) -> VirtualModel:
        """The virtual model of that name; for a tier or a model, whoever serves it, all equally good."""
        virtual = self.virtuals.get(name)
        if virtual is not None:
            return virtual
        names = tuple(tier.name for tier in self.pools(name)) or (name,)
        return VirtualModel(name, names, Threshold(0.0), names[-1], classifier="", sticky=False)

    def tier(self, name: str) -> Tier:
        """Of that name; a model that no tier has is one of its own."""
        tier = self.tiers.get(name)
        return tier if tier is not None else Tier(name, name)

    def members(self, name: str) -> tuple[str, ...]:
        """The tiers behind a virtual model, a tier or a model, in its order."""
        virtual = self.virtuals.get(name)
        if virtual is not None:
            return virtual.tiers
        return tuple(tier.name for tier in self.pools(name)) or (name,)


def _end(name: str, aliases: Mapping[str, str]) -> str:
    seen = {name}
    while name in aliases:
        name = aliases[name]
        if name in seen:
            raise ValueError(f"the alias {name} leads back to itself")
        seen.add(name)
    return name


def _expect(tiers: Mapping[str, Tier], virtual: VirtualModel) -> None:
    canary = (virtual.canary.to,) if virtual.canary is not None else ()
    named = (*virtual.tiers, virtual.default, *(each.to for each in virtual.fallbacks), *canary)
    missing = [name for name in named if name not in tiers]
    if missing:
        raise ValueError(f"{virtual.name} names {missing[0]}, which is no tier")
    if virtual.experiment is not None:
        for arm in virtual.experiment.arms:
            _expect(tiers, arm.virtual)
