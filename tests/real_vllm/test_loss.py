"""A replica that dies in traffic, or is told to end, costs its clients time and nothing else."""

import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.real_vllm.wire import MODEL, Answer, ask, engine, until

pytestmark = pytest.mark.real_vllm

TOKENS = 300
PLAIN, STREAMS, LATER = 8, 6, 20
PATIENCE_S = 25
WORK = {"model": MODEL, "max_tokens": TOKENS, "ignore_eos": True, "temperature": 0}


def engine_core(api_server: int) -> int:
    """The child of the API server that runs the engine."""
    [core] = Path(f"/proc/{api_server}/task/{api_server}/children").read_text().split()
    return int(core)


def finished(answer: Answer) -> bool:
    events = answer.events()
    texts = [data for _, data in events if isinstance(data, dict) and data.get("choices")]
    return events[-1][1] == "[DONE]" and bool(texts) and texts[-1]["choices"][0]["finish_reason"] == "length"


@pytest.fixture
def loss(farm, balance):
    """Put load on two replicas, take one away by `kill`, and give what came of each request."""

    def run(kill, *flags: str) -> tuple[list[Future[Answer]], list[Future[Answer]], list[Answer]]:
        with (
            farm(2, *flags) as ready,
            balance(list(ready)) as url,
            ThreadPoolExecutor(PLAIN + STREAMS) as pool,
        ):

            def submit(prompt: str, *, stream: bool) -> Future[Answer]:
                body = {**WORK, "prompt": prompt, "stream": stream}
                return pool.submit(ask, url, "/v1/completions", body, PATIENCE_S)

            plain = [submit(f"{index} plain", stream=False) for index in range(PLAIN)]
            streams = [submit(f"{index} stream", stream=True) for index in range(STREAMS)]
            victim, pid = next(iter(ready.items()))
            assert until(lambda: (engine(victim).generation_tokens or 0) > 100, within_s=20)
            kill(pid)
            later = [
                ask(url, "/v1/completions", {**WORK, "prompt": f"{i} later", "max_tokens": 3})
                for i in range(LATER)
            ]
            return plain, streams, later

    return run


def check(plain: list[Future[Answer]], streams: list[Future[Answer]], later: list[Answer]) -> None:
    """Every answer is whole."""
    assert [future.result().status for future in plain] == [200] * PLAIN
    assert [future.result().json()["usage"]["completion_tokens"] for future in plain] == [TOKENS] * PLAIN
    assert all(finished(stream.result()) for stream in streams)
    assert [answer.status for answer in later] == [200] * LATER


@pytest.mark.parametrize("process", ["API server", "engine core"])
def test_a_killed_replica(loss, process):
    def kill(api_server: int) -> None:
        os.kill(api_server if process == "API server" else engine_core(api_server), signal.SIGKILL)

    check(*loss(kill))


def stop(api_server: int) -> None:
    os.kill(api_server, signal.SIGTERM)


def test_a_replica_told_to_stop(loss):
    """Without --shutdown-timeout vLLM cuts short what it had begun, as if it were whole, or never ends it."""
    check(*loss(stop))


def test_a_replica_that_may_finish(loss):
    check(*loss(stop, "--shutdown-timeout", "20"))
