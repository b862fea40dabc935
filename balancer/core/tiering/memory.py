"""What is remembered from one choice of a tier to the next: the cuts and exchanges of each virtual model, and conversations."""

from collections.abc import Callable, Mapping

from balancer.core.tiering.choice import Pick
from balancer.core.tiering.exchange import Exchange
from balancer.core.tiering.share import Calibrated, Cut, Fixed, cut_of
from balancer.core.tiering.sticky import Sticky
from balancer.core.tiering.types import Plan, QualityFloor, Tier, VirtualModel

Calibration = Callable[[VirtualModel], Calibrated | None]
"""What its classifier was found to need for the virtual model's quality floor; None: nothing was found."""


class Steps:
    """Of one virtual model, or of a request that names its own threshold."""

    def __init__(self, virtual: VirtualModel, cuts: list[Cut], exchanges: list[Exchange]) -> None:
        self.virtual = virtual
        self.cuts = cuts
        self.exchanges = exchanges

    def cut(self, rank: int) -> Cut:
        return self.cuts[min(rank, len(self.cuts)) - 1]

    def exchange(self, rank: int) -> Exchange:
        return self.exchanges[min(rank, len(self.exchanges)) - 1]


class Tiering:
    """`tiers` by name may be replaced at any time: what was learned stays where the target does."""

    def __init__(self, tiers: Mapping[str, Tier], calibration: Calibration = lambda _: None) -> None:
        self.tiers = tiers
        self.calibration = calibration
        self.sticky = Sticky()
        self._steps: dict[str, Steps] = {}

    def __repr__(self) -> str:
        return f"<Tiering: {', '.join(self.tiers)}; {len(self._steps)} virtual models, {self.sticky!r}>"

    def calibrated(self, calibration: Calibration) -> None:
        """The classifiers are others, or calibrated anew: quality floors begin again, and all else stays."""
        self.calibration = calibration
        self._steps = {
            name: steps
            for name, steps in self._steps.items()
            if not isinstance(steps.virtual.target, QualityFloor)
        }

    def steps(self, plan: Plan) -> Steps:
        virtual = plan.virtual
        own = self._own(virtual)
        if plan.ask.threshold is None:
            return own
        threshold = plan.ask.threshold
        cuts: list[Cut] = [Fixed(1 - (1 - threshold) ** step) for step in range(1, len(own.cuts) + 1)]
        return Steps(virtual, cuts, own.exchanges)

    def took(self, plan: Plan, pick: Pick, tier: str, tokens: int, now: float) -> None:
        """The request goes to this tier, with a prompt of so many tokens."""
        if pick.reason != "asked" and plan.ask.threshold is None:
            own = self._own(plan.virtual)
            name = plan.options[pick.wanted].name if plan.virtual.shadow and pick.wanted is not None else tier
            reached = self._rank(plan, name)
            found = {step.rank: step for step in pick.steps}
            for rank in range(1, len(own.cuts) + 1):
                step = found.get(rank)
                own.cut(rank).add(step and step.worth, now, strong=reached is not None and reached >= rank)
                if step is not None and step.more is not None:
                    own.exchange(rank).add(step.more)
        kept = self.sticky.of(plan)
        least = kept.least if kept is not None else ""
        if pick.reason == "escalated":
            least = plan.options[pick.option].name
        self.sticky.hold(plan, tier, tokens, least, pick.propensity)

    def moved(self, plan: Plan, before: str, after: str) -> None:
        """The request left the tier that it was taken by, for another one."""
        first, then = self._rank(plan, before), self._rank(plan, after)
        if first is None or then is None or plan.ask.threshold is not None:
            return
        own = self._own(plan.virtual)
        for rank in range(min(first, then) + 1, max(first, then) + 1):
            own.cut(rank).moved(1 if then > first else -1)

    @staticmethod
    def _rank(plan: Plan, name: str) -> int | None:
        ranks = plan.virtual.tiers
        if name in ranks:
            return ranks.index(name)
        return next((place for place, tier in enumerate(plan.options) if tier.name == name), None)

    def _own(self, virtual: VirtualModel) -> Steps:
        known = self._steps.get(virtual.name)
        if known is not None and known.virtual is virtual:
            return known
        steps = max(1, len(virtual.tiers) - 1)
        if known is not None and known.virtual.target == virtual.target and len(known.cuts) == steps:
            known.virtual = virtual
            return known
        calibrated = self.calibration(virtual)
        cuts = [cut_of(virtual.target, step, calibrated) for step in range(1, steps + 1)]
        self._steps[virtual.name] = made = Steps(virtual, cuts, [Exchange() for _ in cuts])
        return made
