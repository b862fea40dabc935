"""What fails at one replica is hidden while that is safe, told truly when it is not, and forgotten when it is over."""

import asyncio

import pytest

from tests.blackbox.kit.client import ask, chat
from tests.blackbox.kit.lab import check, posts
from tests.blackbox.kit.replica import METRICS, METRICS_BEFORE_0_9

pytestmark = pytest.mark.blackbox
RECOVERY_S = 25


def answering(status: int, body: object, headers=()):
    async def handler(request, connection):
        await connection.respond(status, body, headers)

    return handler


def error(message: str, code: int) -> dict:
    return {"error": {"message": message, "type": "Error", "param": "stop", "code": code}}


@check("production-stack#420", "NeMo-RL#3613")
async def test_a_refused_connection_fails_over(lab):
    """Of two replicas the preferred one dies; each of 20 requests must still be answered."""
    replicas = await lab.replicas(2)
    balancer = await lab.balancer(replicas)
    for index in range(4):
        await balancer.ask(chat(f"{index} warm"))
    await max(replicas, key=lambda replica: len(replica.posts)).stop()
    answers = [await balancer.ask(chat(f"{index * 7919} cold")) for index in range(20)]
    assert [answer.status for answer in answers] == [200] * 20, answers
    assert max(answer.took_s for answer in answers) < 6


@check("vllm-ascend#15238", "vllm-ascend#12166", "labs-molt#11", "semantic-router#1556")
async def test_a_client_error_is_verbatim_and_not_retried(lab):
    replicas = await lab.replicas(2)
    balancer = await lab.balancer(replicas)
    for status in (400, 404, 422):
        body = error(f"bad \u4f60 {status}", status)
        for replica in replicas:
            replica.on_post = answering(status, body)
        for stream in (False, True):
            before = sum(posts(replicas))
            answer = await balancer.ask(chat("q", stream=stream))
            assert answer.status == status, answer
            assert answer.json() == body
            assert sum(posts(replicas)) - before == 1, f"a {status} was retried"


@check("sglang#25811", "sglang#26713", "router#148")
async def test_client_errors_do_not_eject_a_replica(lab):
    replicas = await lab.replicas(2)
    balancer = await lab.balancer(replicas)
    for replica in replicas:
        replica.on_post = answering(400, error("max_tokens too large", 400))
    for index in range(30):
        await balancer.ask(chat(f"{index} bad"))
    for replica in replicas:
        replica.on_post = None
    answer = await balancer.ask(chat("good"))
    assert answer.status == 200, answer


@check("semantic-router#1556")
async def test_a_429_keeps_its_body_and_retry_after(lab):
    replicas = await lab.replicas(2)
    balancer = await lab.balancer(replicas)
    for replica in replicas:
        replica.on_post = answering(429, error("queue full", 429), [("Retry-After", "7")])
    answer = await balancer.ask(chat("q"), timeout_s=12)
    assert answer.status == 429, answer
    assert answer.get("retry-after") == "7", answer
    assert b"queue full" in answer.body, answer


@check("sglang#39464")
async def test_an_overload_ends_when_it_ends(lab):
    """A lone replica sheds 12 requests; idle again, it must be used within 3 s."""
    [replica] = await lab.replicas(1)
    balancer = await lab.balancer([replica])
    replica.on_post = answering(503, error("queue full", 503))
    await asyncio.gather(*(balancer.ask(chat(f"{index}"), timeout_s=15) for index in range(12)))
    replica.on_post = None
    for _ in range(10):
        answer = await balancer.ask(chat("again"), timeout_s=3)
        if answer.status == 200:
            return
        await asyncio.sleep(0.3)
    raise AssertionError(f"still refused 3 s after the replica was free: {answer}")


@check("aiohttp#2867", "miles#851", "NeMo-RL#3613")
async def test_a_request_that_kills_replicas_is_not_sent_on_and_on(lab):
    replicas = await lab.replicas(2)
    balancer = await lab.balancer(replicas)

    async def die(request, connection):
        connection.reset()

    for replica in replicas:
        replica.on_post = die
    answer = await balancer.ask(chat("poison"), timeout_s=15)
    assert answer.status in (500, 502, 503, 504), answer
    assert sum(posts(replicas)) <= 4, posts(replicas)


@check("production-stack#749", "production-stack#1091", "vllm-ascend#12166", "rllm#926")
async def test_no_replica_is_a_quick_openai_error(lab):
    replicas = await lab.replicas(2)
    balancer = await lab.balancer(replicas)
    for replica in replicas:
        await replica.stop()
    for stream in (False, True):
        answer = await balancer.ask(chat("q", stream=stream), timeout_s=12)
        assert answer.status in (502, 503, 504), answer
        assert "json" in (answer.get("content-type") or ""), answer
        assert "error" in answer.json(), answer
        assert answer.took_s < 6, answer


@check("production-stack#749", "production-stack#706")
async def test_a_hung_replica_does_not_block_the_other(lab):
    hung, other = await lab.replicas(2)
    balancer = await lab.balancer([hung, other])

    async def hang(request, connection):
        await connection.closed.wait()

    hung.on_post = hang

    def burst(name: str, count: int, timeout_s: float) -> list[asyncio.Task]:
        bodies = [chat(f"{index * 7919} {name}") for index in range(count)]
        return [
            asyncio.get_running_loop().create_task(balancer.ask(body, timeout_s=timeout_s)) for body in bodies
        ]

    def served(tasks: list[asyncio.Task]) -> int:
        return sum(task.done() and task.result().status == 200 for task in tasks)

    first = burst("first", 24, timeout_s=14)
    await asyncio.sleep(3)
    second = burst("second", 12, timeout_s=5)
    await asyncio.sleep(3)
    counts = served(first), served(second)
    for task in first + second:
        task.cancel()
    assert counts[0] >= 8, counts
    assert counts[1] >= 4, counts


@check("sglang#3802", "router#159", "sglang#12621", limit_s=60)
async def test_it_starts_with_a_dead_replica(lab):
    dead, replica = await lab.replicas(2)
    await dead.stop()
    balancer = await lab.balancer([dead, replica])
    answers = [await balancer.ask(chat(f"{index} q")) for index in range(10)]
    assert [answer.status for answer in answers] == [200] * 10, answers


@check("production-stack#815", "sglang#8941", "router#140", limit_s=100)
async def test_a_replica_that_is_back_is_used_again(lab):
    lost, other = await lab.replicas(2)
    balancer = await lab.balancer([lost, other])
    await lost.stop()
    for index in range(12):
        await balancer.ask(chat(f"{index * 7919} down"))
    await asyncio.sleep(2)
    await lost.start()
    lost.delay_s = other.delay_s = 0.2
    before = len(lost.posts)
    for attempt in range(2 * RECOVERY_S):
        bodies = [chat(f"{attempt * 7919} {index} back") for index in range(6)]
        await asyncio.gather(*(balancer.ask(body, timeout_s=5) for body in bodies))
        if len(lost.posts) > before:
            return
        await asyncio.sleep(0.3)
    raise AssertionError(f"no request in {RECOVERY_S} s")


@check("router#135", "sglang#10827")
async def test_models_are_listed_with_one_replica_down(lab):
    for victim in (0, 1):
        replicas = await lab.replicas(2)
        balancer = await lab.balancer(replicas)
        await replicas[victim].stop()
        statuses = [(await balancer.get("/v1/models", timeout_s=5)).status for _ in range(8)]
        assert statuses == [200] * 8, victim


@check("production-stack#617", "gateway-api-inference-extension#1905", "vllm#18354", "production-stack#318")
async def test_no_replica_starves_by_its_metrics_page(lab):
    """New names, old names, HTML, 404."""
    replicas = [
        *await lab.replicas(1, METRICS),
        *await lab.replicas(1, METRICS_BEFORE_0_9),
        *await lab.replicas(1, "<html>\xff nginx 502 {{{ </html>"),
        *await lab.replicas(1),
    ]
    replicas[3].paths["/metrics"] = answering(404, b"no")
    balancer = await lab.balancer(replicas)
    await asyncio.sleep(2)  # some readings later
    for replica in replicas:
        replica.delay_s = 0.4
    answers = await asyncio.gather(*(ask(balancer.url, chat(f"{index * 7919}")) for index in range(48)))
    assert all(answer.status == 200 for answer in answers)
    assert min(posts(replicas)) >= 3, posts(replicas)
