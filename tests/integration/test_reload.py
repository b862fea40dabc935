"""Other settings while requests run: nothing in flight is touched, and what is not mentioned stays what it was."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.config import load
from balancer.core.types import Health
from tests.accounting.test_metrics import value
from tests.fakes.balancer import balancing, cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import LAST_CHUNK, ROLE, SSE_HEAD, Replica, chunk, token


class Desk:
    """Streams under way: each is begun, and goes on when the test says so."""

    def __init__(self, *replicas):
        self.begun = asyncio.Queue()
        for replica in replicas:
            replica.on_post = self.begin

    def begin(self, connection, request):
        connection.write(SSE_HEAD, chunk(ROLE))
        self.begun.put_nowait(connection)


async def begin(front, desk):
    client = await front.client()
    client.send(stream())
    upstream = await desk.begun.get()
    answer = await client.head()
    await client.more(answer)
    return client, answer, upstream


async def end(client, answer, upstream):
    upstream.write(chunk(token("a")), LAST_CHUNK)
    await client.read(answer)
    assert (answer.complete, answer.body) == (True, ROLE + token("a"))


def state_of(front, name="r0"):
    return next(state for state in front.fleet if state.id == name)


def loops_of(front, state):
    return front.balancer.replicas._watched[state].loops


async def metrics(front):
    return (await front.ask(target="/metrics")).body.decode()


@on_both_loops
async def test_an_added_replica_gets_requests_and_the_others_notice_nothing():
    async with cluster(policy="round_robin") as (front, (old,)):
        new = await Replica("r1").start()
        for _ in range(3):
            assert (await front.ask(chat())).status == 200
        state = state_of(front)
        loops, pool = loops_of(front, state), front.balancer.replicas.pools[state]
        done = await front.reload(old, new, policy="round_robin")
        assert (done.outcome, done.changes.added) == ("applied", ["r1"])
        await until(lambda: state_of(front, "r1").health is Health.HEALTHY and state_of(front, "r1").models)
        assert (await front.ask(chat())).json()["served_by"] == "r1"
        assert state_of(front) is state
        assert loops_of(front, state) is loops
        assert not any(loop.done() for loop in loops)
        assert front.balancer.replicas.pools[state] is pool
        assert (
            value(
                await metrics(front),
                "balancer_attempts_total",
                replica="r0",
                reason="next_in_turn",
                outcome="answered",
            )
            == 3
        )
        await new.stop()


@on_both_loops
async def test_what_a_removed_replica_has_ends_untouched_and_then_it_is_gone():
    async with cluster(2, policy="cache_aware") as (front, replicas):
        desk, state = Desk(replicas[0]), state_of(front)
        state_of(front, "r1").draining = True
        client, answer, upstream = await begin(front, desk)
        state_of(front, "r1").draining = False
        loops = loops_of(front, state)
        done = await front.reload(replicas[1], policy="cache_aware")
        assert done.changes.removed == ["r0"]
        assert front.balancer.decider.fleet.leaving == [state]
        assert len(front.balancer.decider.policy._capacities) == 1
        for _ in range(4):
            assert (await front.ask(chat())).json()["served_by"] == "r1"
        page = await metrics(front)
        assert value(page, "balancer_requests_in_flight", replica="r0") == 1
        assert value(page, "balancer_replica_draining", replica="r0") == 1
        assert (await front.ask(target="/load")).json() == {"server_load": 1}
        assert not any(loop.done() for loop in loops)  # they tell whether it still works
        await end(client, answer, upstream)
        await until(lambda: not front.balancer.decider.fleet.leaving)
        await until(lambda: all(loop.done() for loop in loops))
        await until(lambda: not [each for each in replicas[0].open if each.requests and each is upstream])
        assert list(front.balancer.replicas.pools) == front.fleet
        assert (state.in_flight, state.pending_tokens) == (0, 0)
        assert 'balancer_requests_in_flight{replica="r0"}' not in await metrics(front)


@on_both_loops
async def test_a_replica_that_moved_shares_no_counter_with_its_successor():
    # kubeai#447, llm-d-router#1739: the late decrement hit the new counter, and the endpoint looked free for ever
    async with cluster(policy="predicted_latency") as (front, (old,)):
        new = await Replica("r0").start()
        desk, before = Desk(old), state_of(front)
        streams = [await begin(front, desk) for _ in range(3)]
        done = await front.reload({"url": new.url, "name": "r0"})
        assert done.changes.moved == ["r0"]
        after = state_of(front)
        assert after is not before
        assert (before.in_flight, after.in_flight) == (3, 0)
        assert value(await metrics(front), "balancer_requests_in_flight", replica="r0") == 3
        await until(lambda: after.health is Health.HEALTHY and after.models)
        assert (await front.ask(chat())).status == 200
        assert len(new.posts) == 1
        for each in streams:
            await end(*each)
            assert after.in_flight == 0
        await until(lambda: not front.balancer.decider.fleet.leaving)
        assert (before.in_flight, before.pending_tokens) == (0, 0)
        assert front.idle()
        await new.stop()


@async_test
async def test_requests_that_wait_for_a_replica_that_moves_wait_for_its_successor():
    async with cluster(policy="predicted_latency") as (front, (old,)):
        new = await Replica("r0").start()
        decider = front.balancer.decider
        view = decider.understand("chat", b'{"model": "m"}', None)
        decision = decider.decide(view, frozenset(), 0.0)
        waiting = decider.line.join(view, decision._replace(wait=True), 0.0)
        await front.reload({"url": new.url, "name": "r0"})
        await until(lambda: state_of(front).health is Health.HEALTHY and state_of(front).models)
        (placed,) = list(decider.line.release(0.1))
        assert placed[0] is waiting
        await new.stop()


@async_test
async def test_models_change_in_place():
    async with cluster() as (front, (replica,)):
        state = state_of(front)
        await front.reload({"url": replica.url, "name": "r0", "models": ["m", "adapter"]})
        assert state_of(front) is state
        assert (await front.ask({**chat(), "model": "adapter"})).status == 200
        await front.reload(replica)
        await until(lambda: state.models == {"m"})


@on_both_loops
async def test_probes_go_on_after_a_reload():
    # production-stack#815: a reload cancelled the health checks, and nothing was checked any more
    async with cluster(2) as (front, replicas):
        for interval_s in (0.04, 0.05):
            await front.reload(*replicas, health_interval_s=interval_s)
        await replicas[0].stop()
        await until(lambda: state_of(front).health is Health.UNHEALTHY)
        for _ in range(5):
            assert (await front.ask(chat())).json()["served_by"] == "r1"


@async_test
async def test_a_replica_that_comes_after_the_first_request_is_found():
    # ai-dynamo/dynamo#4904: a request before the first worker, and the router never recovered
    late = await Replica("late").start()
    await late.stop()
    async with balancing({"url": late.url, "name": "late"}, wait_for=None) as front:
        assert (await front.ask(chat())).status in {404, 502, 503}
        await late.start()
        await until(
            lambda: state_of(front, "late").health is Health.HEALTHY and state_of(front, "late").models
        )
        assert (await front.ask(chat())).status == 200
        await late.stop()


@async_test
async def test_only_the_sessions_of_a_removed_replica_move():
    # envoyproxy/gateway#7561, contour#3808, aibrix#2484: a ring that is built anew moves all sessions
    async with cluster(3, policy="session") as (front, replicas):

        async def homes():
            return {
                session: (await front.ask(chat(), headers={"x-session-id": session})).json()["served_by"]
                for session in (f"s{number}" for number in range(16))
            }

        before = await homes()
        assert len(set(before.values())) == 3
        await front.reload(*replicas[:2], policy="session")
        after = await homes()
        assert {s for s in before if before[s] != after[s]} == {s for s in before if before[s] == "r2"}
        await front.reload(*replicas, policy="session")
        await until(lambda: state_of(front, "r2").health is Health.HEALTHY and state_of(front, "r2").models)
        assert await homes() == before


@on_both_loops
async def test_settings_that_can_change_do_and_the_rest_is_named(caplog):
    async with cluster() as (front, (replica,)):
        client = await front.client()
        assert (await client.ask(chat())).status == 200
        changed = {
            "api_keys": ["secret"], "max_body_bytes": 1000, "health_failure_threshold": 7, "max_attempts": 1,
            "replica_api_key": "upstream", "scale_out_routes": True, "metrics_interval_s": 0.01, "drain_timeout_s": 1,
            "max_in_flight_per_replica": 9, "max_waiting": 5, "warmup_s": 3, "panic_threshold": 0.1,
        }  # fmt: skip
        done = await front.reload(replica, port=1, policy="random", **changed)
        assert (done.outcome, set(done.waiting)) == ("applied", {"port", "policy"})
        assert "only a restart changes port, policy" in caplog.text
        assert (await client.ask(chat())).status == 401
        key = {"Authorization": "Bearer secret"}
        assert (await client.ask(chat(), headers=key)).status == 200
        assert replica.posts[-1].all("authorization") == ["Bearer upstream"]
        await until(lambda: replica.probes[-1].all("authorization") == ["Bearer upstream"])
        assert (await client.ask(chat("x" * 1000), headers=key)).status == 413
        decider = front.balancer.decider
        assert decider.policy.name == "predicted_latency"
        assert decider.health.failure_threshold == 7
        assert decider.line.limits.max_waiting == 5
        assert state_of(front).max_in_flight == 9
        assert (decider.fleet.warmup_s, decider.fleet.panic_threshold) == (3, 0.1)
        page = (await front.ask(target="/metrics", headers=key)).body.decode()
        assert value(page, "balancer_config_waits_for_restart", setting="port") == 1
        assert value(page, "balancer_config_reloads_total", outcome="applied") == 1
        done = await front.reload(replica, **changed)
        assert (done.outcome, done.waiting) == ("unchanged", ())
        page = (await front.ask(target="/metrics", headers=key)).body.decode()
        assert "balancer_config_waits_for_restart{" not in page


@async_test
async def test_a_file_with_a_mistake_is_refused_whole(tmp_path, caplog):
    # production-stack#617: a failed reload was a warning that nobody saw
    file = tmp_path / "balancer.yaml"
    async with cluster(2) as (front, replicas):
        reloader = front.balancer.reloader
        before = reloader.loaded.settings
        digest = [
            line for line in (await metrics(front)).splitlines() if line.startswith("balancer_config_info")
        ]
        file.write_text(f"replicas: ['{replicas[1].url}']\nmax_attemps: 1\napi_keys: [k]\nlog_level: loud\n")
        reloader.loaded = type(reloader.loaded)(before, {}, file, lambda: load({}, {}, file))
        reloader.ask()
        await until(lambda: "2 mistakes" in caplog.text)
        assert f"max_attemps: expected a known setting; the nearest is max_attempts ({file}:2)" in caplog.text
        assert reloader.loaded.settings is before
        assert (await front.ask(chat())).status == 200
        page = await metrics(front)
        assert value(page, "balancer_config_reloads_total", outcome="refused") == 1
        assert digest == [line for line in page.splitlines() if line.startswith("balancer_config_info")]
        assert len(front.fleet) == 2


NAMES = ("a", "b", "c")
moves = st.one_of(
    st.just(("ask",)),
    st.tuples(st.just("end"), st.integers(0, 9)),
    st.tuples(st.just("leave"), st.integers(0, 9)),
    st.tuples(
        st.just("reload"),
        st.dictionaries(st.sampled_from(NAMES), st.tuples(st.integers(0, 1), st.booleans()), min_size=1),
    ),
)


class World:
    """Each name has two addresses: a reload adds, removes, moves or drains. Whoever asks is served until a move ends it."""

    def __init__(self, front, homes, policy):
        self.front, self.homes, self.policy = front, homes, policy
        self.decider, self.pools = front.balancer.decider, front.balancer.replicas.pools
        self.begun = {}  # by what was asked: the replica's end of it
        self.asked = {}
        self.seen = set()
        for replica in homes.values():
            replica.on_post = self._begin

    def _begin(self, connection, request):
        connection.write(SSE_HEAD, chunk(ROLE))
        self.begun[request.json()["messages"][0]["content"]] = connection

    async def ask(self, name):
        client = await self.front.client()
        client.send(stream(name))
        self.asked[name] = client
        await until(lambda: name in self.begun or len(self.decider.line) or self._nobody_is_there())

    def _nobody_is_there(self):
        return all(state.draining for state in self.front.fleet)

    async def reload(self, replicas):
        self.seen |= set(self.pools.items())
        await self.front.reload(*placed(self.homes, replicas), policy=self.policy)
        self.seen |= set(self.pools.items())
        assert {state.id for state in self.front.fleet} == replicas.keys()

    async def end(self, which):
        if going := [name for name in self.asked if name in self.begun]:
            await self._finish(going[which % len(going)])

    async def _finish(self, name):
        client, upstream = self.asked.pop(name), self.begun[name]
        upstream.write(chunk(token("a")), LAST_CHUNK)
        answer = await client.read()
        assert (answer.status, answer.complete, answer.body) == (200, True, ROLE + token("a"))

    async def leave(self, which):
        if self.asked:
            self.asked.pop(sorted(self.asked)[which % len(self.asked)]).reset()

    def nothing_is_negative(self):
        for state in (*self.decider.fleet, *self.decider.fleet.leaving):
            assert state.in_flight >= 0
            assert state.pending_tokens >= 0

    async def close(self):
        """Serve whoever is there, and look what is left."""
        while self.asked:
            refusable = self._nobody_is_there()
            await until(lambda: refusable or any(name in self.begun for name in self.asked))  # noqa: B023 - awaited here
            if name := next((name for name in self.asked if name in self.begun), None):
                await self._finish(name)
            else:
                assert (await self.asked.popitem()[1].read()).status == 503
        await until(lambda: self.decider.fleet.in_flight == 0)
        await self.front.balancer.replicas._sweep()
        assert not self.decider.fleet.leaving
        assert len(self.decider.line) == 0
        assert set(self.pools) == set(self.front.fleet)
        for state, pool in self.seen:
            assert (state.in_flight, state.pending_tokens) == (0, 0)
            assert pool._closed == (state not in self.decider.fleet)
            assert not (pool._closed and pool._idle)


def placed(homes, replicas):
    return [
        {"url": homes[name, at].url, "name": name, "models": ["m"], "drain": drain}
        for name, (at, drain) in replicas.items()
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(moves, min_size=5, max_size=25),
    st.sampled_from(["predicted_latency", "cache_aware", "dynamo_cost", "round_robin", "session"]),
)
def test_any_sequence_of_reloads_leaves_nothing_behind(moves, policy):
    @async_test
    async def run():
        homes = {(name, at): await Replica(name).start() for name in NAMES for at in (0, 1)}
        first = placed(homes, {"a": (0, False)})
        async with balancing(*first, wait_for=None, policy=policy) as front:
            world = World(front, homes, policy)
            for number, (what, *how) in enumerate(moves):
                await getattr(world, what)(*(how or [f"{number:02}"]))
                world.nothing_is_negative()
            await world.close()
        for replica in homes.values():
            await replica.stop()

    run()
