"""The waiting room under any order of arrivals, departures, ends and deaths: each request has one outcome."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from balancer.core.decider import Decider
from balancer.core.errors import Refused
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.core.types import Health
from balancer.waiting_room import TICK_S, WaitingRoom
from tests.core.states import replicas, request
from tests.fakes.loops import async_test, until
from tests.fakes.policies import OneAtATime

number = st.integers(0, 9)
steps = st.one_of(
    st.just(("arrive",)),
    st.tuples(st.just("leave"), number),
    st.tuples(st.just("end"), number),
    st.tuples(st.just("turn"), st.sampled_from(list(Health)), st.sampled_from(["r0", "r1"])),
    st.tuples(st.just("drain"), st.booleans(), st.sampled_from(["r0", "r1", "both"])),
)
happenings = st.lists(st.tuples(steps, st.booleans()), max_size=40)
"""Steps, and whether everybody gets to act on each before the next."""


class World:
    def __init__(self):
        self.policy = OneAtATime()
        self.decider = Decider(Fleet(replicas(2)), self.policy, HealthPolicy())
        self.room = WaitingRoom(self.decider)
        self.tasks = []
        self.left = set()
        self.charges = []

    async def serve(self):
        """What the lifecycle does, as far as the room is concerned."""
        asked = request()
        try:
            decision = self.decider.decide(asked, frozenset(), 0.0)
            if decision.wait:
                _, charge = await self.room.place(asked, decision)
            else:
                charge = self.decider.dispatch(asked, decision, 0.0)
        except Refused:
            return
        self.charges.append(charge)

    async def arrive(self):
        self.tasks.append(asyncio.get_running_loop().create_task(self.serve()))

    async def leave(self, which):
        going = [task for task in self.tasks if not task.done()]
        if going:
            task = going[which % len(going)]
            task.cancel()
            self.left.add(task)

    async def end(self, which):
        if self.charges:
            self.charges.pop(which % len(self.charges)).release(1.0)
            self.room.stir()

    async def turn(self, health, which):
        for state in self.decider.fleet:
            if which in {state.id, "both"}:
                state.health = health

    async def drain(self, draining, which):
        for state in self.decider.fleet:
            if which in {state.id, "both"}:
                state.draining = draining

    async def breathe(self):
        """Let everybody do what they can do at once."""
        for _ in range(6):
            await asyncio.sleep(0)
        # a charge is either somebody's, or given back
        assert sum(state.in_flight for state in self.decider.fleet) == len(self.charges)

    async def close(self):
        await self.turn(Health.HEALTHY, "both")
        await self.drain(False, "both")
        await self.breathe()
        while not all(task.done() for task in self.tasks):
            before = sum(task.done() for task in self.tasks)
            while self.charges:
                await self.end(0)
            await until(lambda: sum(task.done() for task in self.tasks) > before)  # noqa: B023 - awaited here
        while self.charges:
            await self.end(0)


@given(happenings)
def test_nobody_is_lost_and_nothing_stays_charged(happenings):
    async def run():
        world = World()
        for _ in range(6):
            await world.arrive()
        for (what, *how), breathe in [(("breathe",), False), *happenings]:
            await getattr(world, what)(*how)
            if breathe:
                await world.breathe()
        await world.close()
        return world

    world = asyncio.run(run())
    for task in world.tasks:
        if task.cancelled():
            assert task in world.left
        else:
            task.result()
    assert len(world.decider.line) == 0
    assert not world.room._places
    assert world.policy.told["waits"] == world.policy.told["waits_no_more"]
    assert [(state.in_flight, state.pending_tokens) for state in world.decider.fleet] == [(0, 0), (0, 0)]


@async_test
async def test_what_nobody_tells_of_is_found_by_the_tick_which_runs_only_while_somebody_waits():
    world = World()
    for _ in range(3):
        await world.arrive()
    await world.breathe()
    assert len(world.decider.line) == 1
    world.charges.pop(0).release(1.0)  # and no stir
    await asyncio.wait(world.tasks, timeout=50 * TICK_S)
    assert all(task.done() for task in world.tasks)
    await until(lambda: world.room._tick is None)


@async_test
async def test_a_client_that_leaves_just_as_it_was_placed_gives_its_charge_back_and_the_next_one_goes():
    world = World()
    for _ in range(5):
        await world.arrive()
    await world.breathe()
    _, _, leaves, _, follows = world.tasks
    place = next(iter(world.room._places.values()))
    await world.end(0)
    await asyncio.sleep(0)
    assert place.done()
    leaves.cancel()
    await world.breathe()
    assert leaves.cancelled()
    assert follows.done()
    assert [state.in_flight for state in world.decider.fleet] == [1, 1]
    await world.close()
