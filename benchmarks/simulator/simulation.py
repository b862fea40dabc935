"""One run: traffic, replicas, routers and faults on one timeline."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from itertools import count
from random import Random

from balancer.core.decider import Decider
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling.indexed import BLOCK_TOKENS
from balancer.core.types import Health, ReplicaId, RequestView, RouteKind
from balancer.embedded.engine import BlockPool, Engine, EngineRequest, Profile
from benchmarks.simulator.arms import Arm, Surroundings
from benchmarks.simulator.replica import SimulatedReplica
from benchmarks.simulator.request import Request
from benchmarks.simulator.router import Router
from benchmarks.simulator.timeline import Timeline
from benchmarks.workloads.traffic import Session, Traffic

PATIENCE_S = 150.0
"""How long after the last arrival a run goes on; what is not answered by then counts with the time it has waited."""
DRAIN_S = 900.0
"""The same where other traffic follows."""


class Happening(StrEnum):
    STOP = "stop"
    START = "start"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Fault:
    """At `at_s` the replica of that number stops, starts, or runs on at `speed` times its first speed. One that is to
    start without having stopped is not there before.
    """

    at_s: float
    replica: int
    what: Happening
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Setting:
    """The cluster. `profiles` has one entry per replica; `told_speed` is by what a policy's prior of their speeds is
    wrong. Where clients do not stream, a balancer hears of no first token.
    """

    profiles: tuple[Profile, ...]
    routers: int = 1
    sample_every_s: float = 1.0
    sample_delay_s: float = 0.0
    capacity_factor: float = 1.0
    told_speed: float = 1.0
    streaming: bool = True
    max_num_batched_tokens: int = 8192
    faults: tuple[Fault, ...] = ()


def at_speed(profile: Profile, speed: float, kv_share: float = 1.0) -> Profile:
    """The same model on hardware of another speed."""
    return replace(
        profile,
        base_s=profile.base_s / speed,
        prefill_s_per_token=profile.prefill_s_per_token / speed,
        attention_s_per_token_context=profile.attention_s_per_token_context / speed,
        decode_s_per_sequence=profile.decode_s_per_sequence / speed,
        decode_s_per_context_token=profile.decode_s_per_context_token / speed,
        kv_capacity_tokens=round(profile.kv_capacity_tokens * kv_share),
    )


@dataclass(slots=True)
class Run:
    """What happened. `requests` are all that arrived; `windows` the measured times by the name of traffic or stage;
    `end_s` is when the run was over.
    """

    requests: list[Request] = field(default_factory=list)
    windows: dict[str, tuple[float, float]] = field(default_factory=dict)
    end_s: float = 0.0
    preemptions: int = 0


def simulate(arm: Arm, traffic: Traffic, setting: Setting, seed: int) -> Run:
    return Simulation(arm, traffic, setting, seed).run()


class Simulation:
    """Deciders and routers are made by methods of their own, for simulations of more than one model."""

    def __init__(self, arm: Arm, traffic: Traffic, setting: Setting, seed: int) -> None:
        if arm.pooled and setting.faults:
            raise ValueError(f"{arm.name}: expected no faults: its replicas share one KV cache")
        self._traffic = traffic
        self._arm = arm
        self._streaming = setting.streaming
        self._timeline = Timeline()
        self._numbers = count()
        self._run = Run()
        self._measured_open = 0
        self._measured_from_s = self.over_s = 0.0
        pool = None
        if arm.pooled:
            pool = BlockPool(sum(profile.kv_capacity_tokens for profile in setting.profiles) // BLOCK_TOKENS)
        self._profiles = {ReplicaId(f"r{n}"): profile for n, profile in enumerate(setting.profiles)}
        self._replicas = {
            replica_id: SimulatedReplica(
                replica_id,
                self._timeline,
                partial(
                    Engine,
                    profile,
                    block_size=BLOCK_TOKENS,
                    max_num_batched_tokens=setting.max_num_batched_tokens,
                    pool=pool,
                ),
            )
            for replica_id, profile in self._profiles.items()
        }
        in_order = list(self._replicas.values())
        absent = {fault.replica for fault in setting.faults if fault.what is Happening.START}
        absent -= {fault.replica for fault in setting.faults if fault.what is Happening.STOP}
        for number in absent:
            in_order[number].up = False
        for fault in setting.faults:
            self._timeline.at(fault.at_s, self._happen, (in_order[fault.replica], fault))
        rng = Random(seed)
        self._routers = [
            self._router(self._decider(Surroundings(self._replicas, rng.random, setting.told_speed)), setting)
            for _ in range(setting.routers)
        ]

    def _router(self, decider: Decider, setting: Setting) -> Router:
        return Router(
            decider,
            self._replicas,
            self._timeline,
            sample_every_s=setting.sample_every_s,
            sample_delay_s=setting.sample_delay_s,
            capacity_factor=setting.capacity_factor,
        )

    def _decider(self, surroundings: Surroundings) -> Decider:
        states = (
            ReplicaState(replica.id, f"http://{replica.id}", health=Health.UNKNOWN)
            for replica in self._replicas.values()
        )
        return Decider(Fleet(states), self._arm.make(surroundings), HealthPolicy())

    def run(self) -> Run:
        traffic: Traffic | None = self._traffic
        while traffic is not None:
            self._play(traffic)
            traffic = traffic.then
        self._run.end_s = self._timeline.now
        self._run.preemptions = sum(replica.preemptions for replica in self._replicas.values())
        return self._run

    def _play(self, traffic: Traffic) -> None:
        begin_s = self.now
        self._measured_from_s, self.over_s = begin_s + traffic.start_s, begin_s + traffic.end_s
        for name, (start_s, end_s) in {
            traffic.name: (traffic.start_s, traffic.end_s),
            **traffic.stages,
        }.items():
            self._run.windows[name] = (begin_s + start_s, begin_s + end_s)
        for session in traffic.sessions:
            _Client(self, session, begin_s + session.arrival_s, lambda: None)
        self._timeline.at(self.over_s, self._stop_if_over, None)
        self._timeline.stopped = False
        self._timeline.run(self.over_s + (PATIENCE_S if traffic.then is None else DRAIN_S))

    @property
    def now(self) -> float:
        return self._timeline.now

    def at(self, time_s: float, action: Callable[[int], None], turn: int) -> None:
        self._timeline.at(time_s, action, turn)

    def ask(self, session: Session, place: int, ended: Callable[[Request], None]) -> None:
        """A client sends one turn of its session."""
        number = next(self._numbers)
        turn = session.turns[place]
        view = RequestView(
            RouteKind.CHAT,
            stream=self._streaming,
            block_keys=session.prompt_keys(turn),
            prompt_tokens=turn.prompt_tokens,
            session=session.user if self._arm.session_header else None,
        )
        engine = EngineRequest(str(number), turn.prompt_tokens, turn.output_tokens, session.engine_keys(turn))
        measured = self._measured_from_s <= self.now < self.over_s

        def over(request: Request) -> None:
            self._measured_open -= measured
            ended(request)
            self._stop_if_over(None)

        request = Request(view, engine, self.now, over)
        self._run.requests.append(request)
        self.made(request, session, place)
        self._measured_open += measured
        self._routers[number % len(self._routers)].accept(request)

    def made(self, request: Request, session: Session, place: int) -> None:
        """A request, before any router hears of it."""

    def _stop_if_over(self, _: None) -> None:
        self._timeline.stopped = not self._measured_open and self.now >= self.over_s

    def _happen(self, event: tuple[SimulatedReplica, Fault]) -> None:
        replica, fault = event
        match fault.what:
            case Happening.STOP:
                replica.stop()
            case Happening.START:
                replica.start()
            case Happening.SLOW:
                replica.engine.profile = at_speed(self._profiles[replica.id], fault.speed)


class _Client:
    """Whoever has this session: asks turn after turn, and with sub-agents waits for the last of them."""

    def __init__(
        self, simulation: Simulation, session: Session, arrival_s: float, ended: Callable[[], None]
    ) -> None:
        self._simulation = simulation
        self._session = session
        self._ended = ended
        self._background = 0
        simulation.at(arrival_s, self._ask, 0)

    def _ask(self, place: int) -> None:
        self._simulation.ask(self._session, place, lambda request: self._answered(place, request))

    def _answered(self, place: int, request: Request) -> None:
        background = () if request.lost else self._session.turns[place].background
        self._background = len(background)
        if not background:
            self._go_on(place, request)
        for session in background:
            arrival_s = self._simulation.now + session.arrival_s
            _Client(self._simulation, session, arrival_s, lambda: self._child_ended(place, request))

    def _child_ended(self, place: int, request: Request) -> None:
        self._background -= 1
        if not self._background:
            self._go_on(place, request)

    def _go_on(self, place: int, request: Request) -> None:
        following = place + 1
        if request.lost or following == len(self._session.turns):
            self._ended()
            return
        arrival_s = self._simulation.now + self._session.turns[following].think_s
        if arrival_s < self._simulation.over_s:
            self._simulation.at(arrival_s, self._ask, following)
