"""A thread whose work may hang: nothing waits for it for long, and no second one is started."""

import asyncio
import threading

import pytest

from balancer.observers.gpu.worker import HungError, Worker
from tests.fakes.loops import async_test, until


def threads(name):
    return sum(thread.name == name for thread in threading.enumerate())


@async_test
async def test_what_is_done_and_what_is_raised_comes_back():
    worker = Worker("t-done")
    assert await worker.do(lambda: 7, 5) == 7
    with pytest.raises(ZeroDivisionError):
        await worker.do(lambda: 1 // 0, 5)
    assert await worker.do(threading.get_ident, 5) != threading.get_ident()
    worker.close()
    await until(lambda: threads("t-done") == 0)


@async_test
async def test_what_hangs_is_given_up_and_piles_up_no_threads():
    worker, free, done = Worker("t-hung"), threading.Event(), []
    with pytest.raises(HungError, match=r"within 0\.01 s"):
        await worker.do(free.wait, 0.01)
    for _ in range(20):
        with pytest.raises(HungError, match="not returned yet"):
            await worker.do(lambda: done.append(1), 5)
    assert threads("t-hung") == 1
    free.set()

    async def answers():
        try:
            return await worker.do(lambda: 8, 5)
        except HungError:
            return None

    while await answers() != 8:
        await asyncio.sleep(0.005)
    assert done == []
    assert threads("t-hung") == 1
    worker.close()


@async_test
async def test_what_hung_and_then_failed_is_heard_by_nobody():
    worker, free = Worker("t-late"), threading.Event()

    def fails():
        free.wait()
        raise ValueError("late")

    with pytest.raises(HungError):
        await worker.do(fails, 0.01)
    free.set()
    worker.close()
    await until(lambda: threads("t-late") == 0)


@async_test
async def test_who_is_cancelled_leaves_the_thread_busy():
    worker, free, begun = Worker("t-cancelled"), threading.Event(), threading.Event()

    def work():
        begun.set()
        return free.wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(worker.do(work, 60))
        await asyncio.to_thread(begun.wait)
        task.cancel()
    with pytest.raises(HungError):
        await worker.do(lambda: None, 5)
    free.set()
    worker.close()


def test_a_loop_that_is_closed_hears_nothing():
    free = threading.Event()
    worker = Worker("t-closed")

    async def main():
        with pytest.raises(HungError):
            await worker.do(free.wait, 0.01)

    asyncio.run(main())
    free.set()
    worker.close()
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "t-closed")
    thread.join(5)
    assert not thread.is_alive()  # an exception in it would be a warning, which is an error
