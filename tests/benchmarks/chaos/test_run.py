"""The instrument against servers that lie: each lie is found, counted where it happened, and misses its goal."""

import asyncio
import itertools
import json
from random import Random

import pytest

from benchmarks.chaos.faults import Fault, Unsupported
from benchmarks.chaos.figures import QUIET, faults_of, figures, verdicts
from benchmarks.chaos.lab import Front, Lab, gauge_values
from benchmarks.chaos.run import Plan, Row, Window, observe
from benchmarks.chaos.traffic import CHAT, Mix, Traffic
from benchmarks.chaos.verdict import Outcome, Verdict
from benchmarks.goals import Status
from benchmarks.processes import NotServingError

DONE = b"data: [DONE]\n\n"
GAUGES = (
    "# TYPE balancer_requests_in_flight gauge\n# TYPE balancer_pending_prefill_tokens gauge\n"
    "# TYPE balancer_held_requests gauge\n"
    'balancer_requests_in_flight{{replica="a"}} {leaked}\n'
    'balancer_pending_prefill_tokens{{replica="a"}} 0.0\n'
)


class Running:
    def expect_running(self, when):
        pass


class Liar:
    """Answers every ask with the truth, or with what `lie` makes of its events; None is silence."""

    def __init__(self, asks):
        self._by_body = {ask.body: ask for ask in asks}
        self.lie = None
        self.leaked = 0.0
        self._handlers = {}

    async def stop(self):
        for handler, writer in self._handlers.items():
            handler.cancel()
            writer.transport.abort()
        await asyncio.gather(*self._handlers)

    async def __call__(self, reader, writer):
        self._handlers[asyncio.current_task()] = writer
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if head.startswith("GET"):
                await self._send(writer, 200, GAUGES.format(leaked=self.leaked).encode())
                return
            length = int(head.lower().partition("content-length: ")[2].split("\r\n")[0])
            await self._answer(writer, self._by_body[await reader.readexactly(length)])
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer, ask):
        words = ask.truth.text.split(" ")
        texts = [word if not at else f" {word}" for at, word in enumerate(words)]
        finishes = [*[None] * (len(texts) - 1), ask.truth.finish_reason]
        if not ask.stream:
            choice = {"text": ask.truth.text, "finish_reason": ask.truth.finish_reason}
            await self._send(writer, 200, json.dumps({"choices": [choice]}).encode())
            return
        events = []
        for text, finish in zip(texts, finishes, strict=True):
            said = {"delta": {"content": text}} if ask.path == CHAT else {"text": text}
            body = {"id": "a", "choices": [{**said, "finish_reason": finish}]}
            events.append(b"data: " + json.dumps(body).encode() + b"\n\n")
        events.append(DONE)
        if self.lie is not None and (events := self.lie(events)) is None:
            await asyncio.sleep(60)
            return
        await self._send(writer, 200, b"".join(events))

    @staticmethod
    async def _send(writer, status, body):
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        writer.write(head + body)
        await writer.drain()


def run(lie=None, *, leaked=0.0, inflict=None, window_s=0.3):
    """The figures of a run in whose one fault the server lies."""

    async def main():
        made = list(itertools.islice(Traffic(3, Mix(leaves=0.1, slow=0.0)).asks(), 400))
        liar = Liar(made)

        async def lying(_, lasts_s):
            liar.lie = lie
            await asyncio.sleep(lasts_s)
            liar.lie = None

        server = await asyncio.start_server(liar, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            front = Front(port, None, metrics_port=port, child=Running())
            lab = Lab([], None, front, Random(1))
            liar.leaked = leaked
            faults = [Fault("lie", inflict or lying, window_s=window_s)]
            plan = Plan(
                faults, rate_per_s=100, quiet_s=0.2, patience_s=0.5, warm_up_s=0.3, drained_within_s=0.1
            )
            try:
                return await observe(lab, iter(made), plan, lambda _: None)
            finally:
                await liar.stop()

    observed = asyncio.run(main())
    return figures(observed)


def judged(found):
    result = {"arms": {"balancer": found}, "plan": {"short": True, "real_vllm": False}}
    return {verdict.goal.figure.partition("/")[0]: verdict.status for verdict in verdicts(result)}


def test_an_honest_server_meets_every_goal():
    found = run()
    assert set(judged(found).values()) == {Status.MET}
    assert found["outcomes"][Outcome.CANCELLED] > 0
    assert (
        found["outcomes"][Outcome.ANSWERED] + found["outcomes"][Outcome.CANCELLED] == found["requests"] > 50
    )
    assert found["ttft_ms"]["outside"]["p50"] > 0


@pytest.mark.parametrize(
    ("outcome", "lie"),
    [
        ("truncated", lambda events: [*events[:4], DONE]),
        ("truncated", lambda events: events[:-1]),
        ("wrong", lambda events: [*events[:4], *events[2:]]),
        ("wrong", lambda events: [*events[:4], *events[6:]]),
        ("hung", lambda _: None),
    ],
)
def test_each_lie_misses_its_goal_and_is_counted_where_it_was_told(outcome, lie):
    found = run(lie)
    assert found["phases"]["lie"]["outcomes"][outcome] > 0
    assert found["phases"]["lie"]["examples"][outcome]
    assert found["phases"][QUIET]["outcomes"][outcome] == 0
    missed = [name for name, status in judged(found).items() if status is Status.MISSED]
    assert missed == [outcome]


def test_errors_fail_the_goal_while_a_replica_is_healthy():
    error = b'data: {"error": {"message": "lost", "code": 502}}\n\n'
    found = run(lambda events: [*events[:3], error, DONE])
    assert found["failed_though_one_was_healthy"] > 0
    assert judged(found)["failed"] is Status.MISSED


def test_a_leaked_counter_misses_its_goal():
    found = run(leaked=1.0)
    assert list(found["leaks"]) == ['balancer: balancer_requests_in_flight{replica="a"}']
    assert judged(found)["leaked"] is Status.MISSED


def test_a_gauge_that_is_not_there_is_not_zero():
    page = '# TYPE a_b gauge\na_b{x="y"} 0.0\n# TYPE a_c gauge\n'
    assert gauge_values(page, ["a_b", "a_c"]) == {'a_b{x="y"}': 0.0}
    with pytest.raises(NotServingError, match="a_d"):
        gauge_values(page, ["a_b", "a_d"])


def test_a_fault_that_cannot_be_taken_is_skipped_with_its_reason():
    async def inflict(lab, window_s):
        raise Unsupported("it has no such thing")

    found = run(inflict=inflict)
    assert found["skipped"] == ["lie: it has no such thing"]
    assert list(found["phases"]) == [QUIET]


def test_a_front_that_died_meets_no_goal():
    async def inflict(lab, window_s):
        raise NotServingError("ended")

    found = run(inflict=inflict)
    assert found["trouble"] == "ended"
    assert set(judged(found).values()) == {Status.NOT_MEASURED}


def row(due_s, ended_s, outcome=Outcome.ANSWERED):
    return Row("chat", True, due_s, ended_s, None, Verdict(outcome))


def test_a_request_belongs_to_the_fault_that_ended_it_and_a_hung_one_to_where_it_began():
    windows = [Window("a", True, 10, 20), Window("b", True, 30, 40)]
    cases = [
        (row(1, 9), QUIET), (row(9, 11), "a"), (row(20.5, 21.5), "a"), (row(22, 29), QUIET), (row(19, 31), "b"),
        (row(19, 31, Outcome.HUNG), "a"), (row(22, 31), "b"), (row(50, 51), QUIET), (row(1, 90), "b"),
    ]  # fmt: skip
    assert faults_of([each for each, _ in cases], windows) == [fault for _, fault in cases]
