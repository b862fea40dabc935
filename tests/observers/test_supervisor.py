import asyncio
from time import monotonic

from balancer.observers import supervisor
from balancer.observers.supervisor import Supervisor
from tests.fakes.loops import async_test


class Steps:
    """A step that does what its script says, and events for when it did."""

    def __init__(self, *script):
        self._script = list(script)
        self.runs = 0
        self.done = asyncio.Event()

    async def __call__(self):
        self.runs += 1
        outcome = self._script.pop(0) if self._script else None
        if not self._script:
            self.done.set()
        if isinstance(outcome, Exception):
            raise outcome
        return 0.0 if outcome is None else outcome


@async_test
async def test_a_step_runs_at_once_and_again():
    watched, steps = Supervisor(), Steps(0.0, 0.0, 0.0, 3600.0)
    began_s = monotonic()
    watched.start("x", steps)
    async with asyncio.timeout(5):
        await steps.done.wait()
    assert steps.runs == 4
    assert watched.loops["x", ""].last_success_s > began_s
    assert watched.loops["x", ""].restarts == 0
    await watched.stop()


@async_test
async def test_a_step_that_fails_is_told_and_tried_again(monkeypatch, caplog):
    monkeypatch.setattr(supervisor, "MAX_BACKOFF_S", 0.001)
    watched, steps = Supervisor(), Steps(RuntimeError("one"), RuntimeError("two"), 3600.0)
    watched.start("models", steps, "r0")
    async with asyncio.timeout(5):
        await steps.done.wait()
    assert caplog.text.count("models of r0 failed") == 2
    assert "RuntimeError: one" in caplog.text
    assert watched.loops["models", "r0"].restarts == 2
    await watched.stop()


@async_test
async def test_one_loop_that_fails_does_not_touch_another(caplog):
    watched, bad, good = Supervisor(), Steps(RuntimeError("x")), Steps(0.0, 0.0, 3600.0)
    watched.start("bad", bad)
    watched.start("good", good)
    async with asyncio.timeout(5):
        await good.done.wait()
    bad_loop, good_loop = watched.loops.values()
    await watched.stop()
    assert (bad_loop.restarts, good_loop.restarts) == (1, 0)
    assert bad_loop.last_success_s < good_loop.last_success_s


@async_test
async def test_cancelling_a_loop_ends_it_alone():
    watched = Supervisor()
    first, second = (watched.start("x", Steps(3600.0)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert not second.done()
    assert len(watched.loops) == 1
    await watched.stop()
    assert not watched.loops
    assert second.cancelled()


@async_test
async def test_stopping_ends_every_loop():
    watched = Supervisor()
    for name in "abc":
        watched.start(name, Steps(3600.0))
    await asyncio.sleep(0)
    await watched.stop()
    assert len(asyncio.all_tasks()) == 1
