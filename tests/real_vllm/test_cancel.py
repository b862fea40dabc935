"""A client that leaves frees the engine, at whatever moment it leaves."""

import select
from random import Random

import pytest

from tests.real_vllm.wire import MODEL, connection, engine, prose, send, until

pytestmark = pytest.mark.real_vllm

# Decoded to its end, each of these would keep an engine busy for half a minute and more.
ENDLESS = {"model": MODEL, "max_tokens": 6000, "ignore_eos": True, "temperature": 0}
FREED_WITHIN_S = 8


@pytest.fixture
def running(replicas):
    """How many requests the engines run, all together."""

    def count() -> float:
        samples = [engine(url) for url in replicas]
        assert all(sample.running is not None for sample in samples)
        return sum(sample.running or 0 for sample in samples)

    assert until(lambda: count() == 0, within_s=FREED_WITHIN_S)
    return count


def test_a_client_that_leaves_before_the_head(balancer, running):
    with connection(balancer) as client:
        send(client, "/v1/completions", {**ENDLESS, "prompt": "the water"})
        assert until(lambda: running() == 1, within_s=20)
        assert not select.select([client.sock], [], [], 0)[0], "the answer came too early for this test"
    assert until(lambda: running() == 0, within_s=FREED_WITHIN_S)


def test_a_client_that_leaves_before_the_first_token(balancer, running):
    prompt = prose(Random("before the first token"), words=600)
    body = {
        **ENDLESS,
        "prompt": [f"{index} {prompt}" for index in range(8)],
        "stream": True,
        "max_tokens": 2000,
    }
    with connection(balancer) as client:
        send(client, "/v1/completions", body)
        assert until(lambda: running() > 0, within_s=20)
        arrived = b""
        if select.select([client.sock], [], [], 0)[0]:
            arrived = client.sock.recv(65536)
        assert b"data:" not in arrived, "the first token came too early for this test"
    assert until(lambda: running() == 0, within_s=FREED_WITHIN_S)


def test_a_client_that_leaves_in_the_middle_of_a_stream(balancer, running):
    with connection(balancer) as client:
        send(client, "/v1/completions", {**ENDLESS, "prompt": "the water", "stream": True})
        response = client.getresponse()
        assert response.status == 200
        for _ in range(10):
            assert response.readline()
        assert until(lambda: running() == 1, within_s=20)
        response.close()
    assert until(lambda: running() == 0, within_s=FREED_WITHIN_S)


def test_many_clients_that_leave_together(balancer, running):
    clients = [connection(balancer) for _ in range(12)]
    opened = [client.__enter__() for client in clients]
    for index, client in enumerate(opened):
        send(client, "/v1/completions", {**ENDLESS, "prompt": f"{index} water", "stream": index % 2 == 0})
    assert until(lambda: running() == 12, within_s=30)
    for client in opened:
        client.close()
    assert until(lambda: running() == 0, within_s=FREED_WITHIN_S)
