"""A replica that dies in traffic costs what it had begun to stream, and that is seen to break; nothing else."""

import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException
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


def broke_visibly(stream: Future[Answer]) -> bool:
    """Whether the client can tell: the body breaks off, the status is an error, or an event says so."""
    failure = stream.exception()
    if failure is not None:
        return isinstance(failure, HTTPException | OSError)
    answer = stream.result()
    return answer.status >= 500 or any(
        isinstance(data, dict) and "error" in data for _, data in answer.events()
    )


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


@pytest.mark.parametrize("process", ["API server", "engine core"])
def test_a_killed_replica(loss, process):
    def kill(api_server: int) -> None:
        os.kill(api_server if process == "API server" else engine_core(api_server), signal.SIGKILL)

    plain, streams, later = loss(kill)
    statuses = [future.result().status for future in plain]
    assert statuses == [200] * PLAIN, [future.result().body[:200] for future in plain]
    assert all(future.result().json()["usage"]["completion_tokens"] == TOKENS for future in plain)
    assert all(broke_visibly(stream) or finished(stream.result()) for stream in streams)
    assert [answer.status for answer in later] == [200] * LATER


def stop(api_server: int) -> None:
    os.kill(api_server, signal.SIGTERM)


def test_a_replica_told_to_stop_gets_nothing_more(loss):
    """What it had begun is vLLM's to end: without --shutdown-timeout it cuts answers short or never ends them."""
    _, _, later = loss(stop)
    assert [answer.status for answer in later] == [200] * LATER


def test_a_replica_that_may_finish_loses_nothing(loss):
    plain, streams, later = loss(stop, "--shutdown-timeout", "20")
    assert [answer.status for answer in later] == [200] * LATER
    assert all(future.result().json()["usage"]["completion_tokens"] == TOKENS for future in plain)
    assert all(finished(stream.result()) for stream in streams)
