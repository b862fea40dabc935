"""The player: who is sent when and with what, what ends a conversation, and what an interruption leaves."""

import asyncio
import os
import signal

import pytest

from benchmarks.load.player import play
from benchmarks.load.record import Outcome
from benchmarks.load.target import Target, completed
from benchmarks.workloads.script import CHAT_PATH, Ask, Conversation, Script
from tests.benchmarks.load.scripted import SSE, always, never, said, serving, stream, whole


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def chat(text, **options):
    return Ask(CHAT_PATH, {"messages": [user(text)]}, **options)


def alone(*asks, arrival_s=0.0, name="c", remembers=True):
    return Conversation(arrival_s, name, asks, remembers)


def script(*conversations, start_s=0.0, end_s=30.0, name="s", then=None):
    return Script(name, conversations, start_s, end_s, then)


def played(script, answer, **options):
    async def main():
        async with serving(answer) as server, asyncio.timeout(60):
            target = Target(f"http://127.0.0.1:{server.port}", "m")
            return await play(script, target, **options), server

    return asyncio.run(main())


async def echo(request, writer):
    writer.write(stream("to ", request.body["messages"][-1]["content"]))


def test_answers_that_came_are_the_history():
    run, server = played(script(alone(chat("a"), chat("b"), chat("c"))), echo)

    assert [request.body["messages"] for request in server.asked] == [
        [user("a")],
        [user("a"), assistant("to a"), user("b")],
        [user("a"), assistant("to a"), user("b"), assistant("to b"), user("c")],
    ]
    assert [record.turn for record in run.records] == [0, 1, 2]


def test_a_conversation_that_does_not_remember():
    _, server = played(script(alone(chat("a"), chat("b"), remembers=False)), echo)

    assert [request.body["messages"] for request in server.asked] == [[user("a")], [user("b")]]


def test_nothing_the_server_does_holds_arrivals_back():
    """All are under way before the first is answered."""
    asked = []

    async def answer(request, writer):
        asked.append(request)
        if len(asked) == 50:
            everyone.set()
        await everyone.wait()
        writer.write(stream("x"))

    async def main():
        nonlocal everyone
        everyone = asyncio.Event()
        each = (alone(chat("a"), arrival_s=n / 1000, name=f"c{n}") for n in range(50))
        async with serving(answer) as server, asyncio.timeout(60):
            return await play(script(*each), Target(f"http://127.0.0.1:{server.port}", "m"))

    everyone = None
    run = asyncio.run(main())
    assert [record.outcome for record in run.records] == [Outcome.ANSWERED] * 50
    assert [record.due_s for record in run.records] == pytest.approx(
        [run.records[0].due_s + n / 1000 for n in range(50)]
    )


def test_no_request_leaves_before_it_is_due_and_lateness_is_told_for_each():
    each = (alone(chat("a"), arrival_s=n / 500, name=f"c{n}") for n in range(20))
    run, _ = played(script(*each), echo)

    assert len(run.late_s) == len(run.records) == 20
    for record, late_s in zip(run.records, run.late_s, strict=True):
        assert 0 <= late_s <= record.sent_s - record.due_s


def test_think_time_runs_from_the_end_of_the_answer():
    run, _ = played(script(alone(chat("a", think_s=5.0), chat("b", think_s=0.05))), echo)

    first, second = run.records
    assert first.due_s < 5.0
    assert second.due_s == first.ended_s + 0.05
    assert second.sent_s >= second.due_s


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (always(whole({}, "500 Oops")), Outcome.FAILED),
        (always(whole({}, "429 Slow down")), Outcome.SHED),
        (always(SSE + said("x"), close=True), Outcome.FAILED),
    ],
)
def test_an_unsuccessful_turn_ends_its_conversation(answer, outcome):
    run, _ = played(script(alone(chat("a"), chat("b"))), answer)

    assert [record.outcome for record in run.records] == [outcome]


def test_a_client_that_leaves_ends_its_conversation():
    run, _ = played(script(alone(chat("a", leaves_after_s=0.05), chat("b"))), never)

    assert [record.outcome for record in run.records] == [Outcome.LEFT]


def test_background_conversations_end_before_the_next_turn():
    children = tuple(alone(chat("x"), chat("y"), name=f"child {n}", arrival_s=0.02) for n in range(3))
    parent = alone(chat("a", background=children), chat("b"), name="parent")

    run, server = played(script(parent), echo)

    assert run.records[0].conversation == "parent"
    assert run.records[-1].conversation == "parent"
    assert len(run.records) == 8
    inner = run.records[1:-1]
    assert all(record.due_s == run.records[0].ended_s + 0.02 for record in inner if record.turn == 0)
    assert run.records[-1].due_s >= max(record.ended_s for record in inner)
    assert server.asked[-1].body["messages"] == [user("a"), assistant("to a"), user("b")]


def test_only_what_is_due_in_the_window_is_measured():
    arrivals = (0.0, 0.05, 0.1, 0.15)
    each = (alone(chat("a"), arrival_s=at, name=str(at)) for at in arrivals)
    run, _ = played(script(*each, start_s=0.05, end_s=0.15), echo)

    assert [(record.conversation, record.measured) for record in run.records] == [
        ("0.0", False),
        ("0.05", True),
        ("0.1", True),
    ]


def test_no_later_turn_begins_after_the_end():
    run, _ = played(script(alone(chat("a"), chat("b", think_s=10.0)), end_s=5.0), echo)

    assert len(run.records) == 1


def test_the_next_stage_begins_when_all_is_answered():
    second = script(alone(chat("b"), name="later"), name="two", end_s=2.0, start_s=1.0)
    run, _ = played(script(alone(chat("a")), name="one", then=second), echo)

    first, later = run.records
    assert (first.stage, later.stage, later.measured) == ("one", "two", False)
    assert later.due_s >= first.ended_s
    start_s, end_s = run.stages["two"]
    assert (start_s, end_s) == pytest.approx((later.due_s + 1.0, later.due_s + 2.0))


def test_everyone_is_told_of_each_request():
    sent, ended = [], []
    run, _ = played(script(alone(chat("a"), chat("b"))), echo, on_sent=sent.append, on_record=ended.append)

    assert sent == ended == run.records


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_what_was_measured(number):
    async def answer(request, writer):
        if request.body["messages"][-1]["content"] == "held":
            os.kill(os.getpid(), number)
            await never(request, writer)
        await echo(request, writer)

    good = alone(chat("a"), name="good")
    run, _ = played(
        script(good, alone(chat("held"), name="held", arrival_s=0.2), alone(chat("c"), arrival_s=20.0)),
        answer,
    )

    assert run.interrupted
    assert [(record.conversation, record.outcome) for record in run.records] == [
        ("good", Outcome.ANSWERED),
        ("held", Outcome.UNFINISHED),
    ]
    assert signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}


def test_a_cancelled_run_is_cancelled():
    async def main():
        async with serving(never) as server:
            target = Target(f"http://127.0.0.1:{server.port}", "m")
            sent = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                playing = group.create_task(
                    play(script(alone(chat("a"))), target, on_sent=lambda _: sent.set())
                )
                await sent.wait()
                playing.cancel()
            return playing.cancelled()

    assert asyncio.run(main())


def test_an_ask_that_does_not_stream_says_so():
    assert completed(CHAT_PATH, {}, "m", stream=False) == {"model": "m", "stream": False}
