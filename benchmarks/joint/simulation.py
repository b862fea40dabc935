"""One run of two pools behind one virtual model. An arm is how the tier is chosen; the policy within a pool is the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from balancer.core.decider import Decider
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.core.fleet.replica import ReplicaState
from balancer.core.tiering.exchange import tokens_usd
from balancer.core.tiering.memory import Tiering
from balancer.core.tiering.types import (
    Ask,
    Plan,
    Price,
    Score,
    StrongShare,
    Text,
    Tier,
    VirtualModel,
)
from balancer.core.types import Decision, Health
from balancer.embedded.engine import PROFILES
from benchmarks.joint.prompts import Asked
from benchmarks.simulator.arms import ARMS, Surroundings
from benchmarks.simulator.request import Request
from benchmarks.simulator.router import Router
from benchmarks.simulator.simulation import Run, Setting, Simulation
from benchmarks.workloads.traffic import Session, Traffic

SMALL = Tier("small", "small", price=Price(input=0.05, output=0.2, cached_input=0.01))
LARGE = Tier("large", "large", price=Price(input=0.6, output=1.2, cached_input=0.12))
"""USD per million tokens, about what 8B and 70B models cost at providers."""
POOL = (SMALL.model,) * 4 + (LARGE.model,) * 2
SETTING = Setting((PROFILES["llama-3.1-8b-h100"],) * 4 + (PROFILES["llama-3.1-70b-4xh100"],) * 2)
POLICY = ARMS["predicted_latency"]


@dataclass(frozen=True, slots=True)
class Arm:
    """`band`: within what the classifier does not know, latency and money decide. `sticky`: conversations are remembered;
    `once`: the first turn decides for the whole of it. `only`: everything goes to this tier.
    """

    name: str
    tells: str
    band: float = 0.0
    sticky: bool = False
    once: bool = False
    only: Tier | None = None


ARMS_OF_TIERS = {
    arm.name: arm
    for arm in (
        Arm("joint", "the joint choice", 1.0, sticky=True),
        Arm("turns", "each turn by the threshold, then the replica"),
        Arm("conversations", "the first turn by the threshold, then the replica", once=True),
        Arm("all_large", "the large tier alone", only=LARGE),
        Arm("all_small", "the small tier alone", only=SMALL),
        Arm("joint_no_band", "the joint choice without a band", sticky=True),
        Arm("joint_not_sticky", "the joint choice without a memory of conversations", 1.0),
    )
}


@dataclass(slots=True)
class Outcome:
    """What became of the requests, beside what was asked."""

    run: Run
    asked: list[tuple[Request, Asked]]

    def usd(self, request: Request) -> float:
        tier = LARGE if request.view.model == LARGE.model else SMALL
        assert tier.price is not None
        cached = request.cached_tokens or 0
        prompt = request.view.prompt_tokens
        return tokens_usd(tier.price, prompt - cached, cached, request.engine.output_tokens)


def play(
    arm: Arm,
    traffic: Traffic,
    asked: Mapping[str, tuple[Asked, ...]],
    share: float,
    spread: float,
    seed: int,
) -> Outcome:
    simulation = _Tiered(arm, traffic, asked, share, spread * arm.band, seed)
    return Outcome(simulation.run(), simulation.asked)


class _Tiered(Simulation):
    def __init__(
        self,
        arm: Arm,
        traffic: Traffic,
        asked: Mapping[str, tuple[Asked, ...]],
        share: float,
        spread: float,
        seed: int,
    ) -> None:
        self._tiers = arm
        self._asked = asked
        self._spread = spread
        self._virtual = VirtualModel(
            "auto", ("small", "large"), StrongShare(share), "small", sticky=arm.sticky
        )
        self._rng = Random(seed)
        self._held: dict[str, Tier] = {}
        self.plans: dict[Request, Plan] = {}
        self.asked: list[tuple[Request, Asked]] = []
        super().__init__(POLICY, traffic, SETTING, seed)

    def _decider(self, surroundings: Surroundings) -> Decider:
        states = []
        for replica, model in zip(surroundings.replicas.values(), POOL, strict=True):
            state = ReplicaState(replica.id, f"http://{replica.id}", health=Health.UNKNOWN)
            state.models = frozenset({model})
            states.append(state)
        tiering = Tiering({tier.name: tier for tier in (SMALL, LARGE)})
        return Decider(Fleet(states), POLICY.make(surroundings), HealthPolicy(), tiering=tiering)

    def _router(self, decider: Decider, setting: Setting) -> Router:
        return _Router(self, decider, self._replicas, self._timeline)

    def made(self, request: Request, session: Session, place: int) -> None:
        turn = self._asked[session.user][place]
        self.asked.append((request, turn))
        options: tuple[Tier, ...] = (SMALL, LARGE)
        if self._tiers.only is not None:
            options = (self._tiers.only,)
        elif self._tiers.once and session.user in self._held:
            options = (self._held[session.user],)
        score = Score(0.0, known=False) if turn.score is None else Score(turn.score, self._spread)
        self.plans[request] = Plan(
            self._virtual,
            Ask("auto"),
            Text("", 0, turns=place + 1),
            options,
            rule="" if len(options) > 1 else "held",
            score=score,
            conversation=session.user.encode(),
            draw=self._rng.random(),
        )
        request.view.conversation = session.user.encode()

    def chosen(self, request: Request, session: str, tier: Tier) -> None:
        self._held.setdefault(session, tier)


class _Router(Router):
    def __init__(self, simulation: _Tiered, *rest: object) -> None:
        self._simulation = simulation
        super().__init__(*rest)  # type: ignore[arg-type]  # as Router has them

    def _decide(self, request: Request, now: float) -> Decision:
        plan = self._simulation.plans[request]
        choice = self.decider.choose(plan, request.view, request.tried, now)
        assert choice.request is not None
        request.view = choice.request
        self._simulation.chosen(request, plan.conversation.decode(), choice.tier)
        return choice.decision
