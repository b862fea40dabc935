"""What the metrics say of traffic through the front door: where its time went, and that nobody can make up series."""

import asyncio
import random
import time

from tests.accounting.test_metrics import read, total, value
from tests.fakes.balancer import cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, on_both_loops
from tests.fakes.replica import DONE, LAST_CHUNK, ROLE, SSE_HEAD, USAGE, answer, answers, chunk, token

WHERE = {"model_name": "m", "tier": "", "replica": "r0"}
PAUSE_S = 0.2
ROUTES = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/responses",
    "/tokenize",
)


async def page_of(front):
    return (await front.ask(target="/metrics", headers={"Authorization": "Bearer key"})).body


@on_both_loops
async def test_ttft_is_from_the_last_byte_of_the_request():
    async with cluster() as (front, _):
        client = await front.client()
        body = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
        sent_at = time.monotonic()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\n"
        client.writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body[:10])
        await asyncio.sleep(PAUSE_S)
        client.writer.write(body[10:])
        assert (await client.read()).complete
        page = await page_of(front)
        took_s = time.monotonic() - sent_at
        read_s = value(page, "balancer_phase_seconds_sum", phase="read")
        assert read_s >= PAUSE_S * 0.9
        assert read_s + value(page, "balancer_time_to_first_token_seconds_sum", **WHERE) <= took_s
        assert read_s + value(page, "balancer_request_duration_seconds_sum", **WHERE) <= took_s


@on_both_loops
async def test_ttft_is_to_the_first_content():
    async with cluster() as (front, (replica,)):
        asked = asyncio.Queue()
        replica.on_post = lambda connection, request: asked.put_nowait(connection)
        client = await front.client()
        client.send(stream())
        upstream = await asked.get()
        upstream.write(SSE_HEAD, chunk(b": thinking\n\n"), chunk(ROLE))
        answer = await client.head()
        await client.more(answer)
        await asyncio.sleep(PAUSE_S)
        upstream.write(chunk(token("a")))
        await client.more(answer)
        await asyncio.sleep(PAUSE_S)
        upstream.write(chunk(token("b")))
        await client.more(answer)
        upstream.write(chunk(USAGE), chunk(DONE), LAST_CHUNK)
        assert (await client.read(answer)).complete
        page = await page_of(front)
        assert value(page, "balancer_time_to_first_token_seconds_sum", **WHERE) >= PAUSE_S * 0.9
        assert value(page, "balancer_phase_seconds_sum", phase="first_token") >= PAUSE_S * 0.9
        assert value(page, "balancer_inter_token_latency_seconds_sum", **WHERE) >= PAUSE_S * 0.9
        assert value(page, "balancer_inter_token_latency_seconds_bucket", **WHERE, le="0.1") <= 2
        assert value(page, "balancer_inter_token_latency_seconds_count", **WHERE) >= 1


@async_test
async def test_the_phases_are_all_there_is_of_an_answers_time():
    async with cluster() as (front, _):
        for _ in range(3):
            await front.ask(stream())
        page = await page_of(front)
        parts = ("understand", "decide", "connect", "first_byte", "first_token", "stream")
        spent = sum(value(page, "balancer_phase_seconds_sum", phase=phase) for phase in parts)
        whole = value(page, "balancer_request_duration_seconds_sum", **WHERE)
        assert spent > 0
        assert spent <= whole
        for phase in ("read", "understand", "decide", "first_byte", "first_token", "stream"):
            assert value(page, "balancer_phase_seconds_count", phase=phase) == 3
        assert value(page, "balancer_phase_seconds_count", phase="wait") == 0


@async_test
async def test_tenants_of_the_configuration_have_series_and_no_others(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("alice: key-a\nbob: key-b\n")
    async with cluster(api_key_file=keys, tenant_header="X-Tenant") as (front, _):
        for name in ("alice", None, "mallory-1", "mallory-2"):
            headers = {"Authorization": "Bearer key-a"} | ({} if name is None else {"X-Tenant": name})
            assert (await front.ask(chat(), headers=headers)).status == 200
        page = (await front.ask(target="/metrics", headers={"Authorization": "Bearer key-b"})).body
        prompts = {
            tenant: total(page, "balancer_tokens_total", tenant=tenant, kind="prompt")
            for tenant in ("alice", "other")
        }
        assert prompts == {"alice": 14, "other": 14}
        assert b"mallory" not in page


@async_test
async def test_a_second_attempt_is_a_retry():
    async with cluster(2) as (front, replicas):
        for replica in replicas:
            replica.on_post = lambda connection, request: connection.reset()
        await front.ask(chat())
        page = await page_of(front)
        attempts = total(page, "balancer_attempts_total")
        assert attempts > 1
        assert value(page, "balancer_retries_total", model_name="m") == attempts - 1


def hostile(rng):
    """A request that a client makes up, in every part that it may choose."""
    junk = f"junk-{rng.getrandbits(64):x}"
    model = rng.choice([junk] * 9 + [None, 7, "", "m" * 300, 'm"\n{}', "m\ud800"])
    body = chat(junk, user=junk, stream=rng.random() < 0.5) | {"model": model}
    headers = {"X-Tenant": junk, "X-Session-ID": junk, "X-Request-Id": junk, "X-Vllm-Priority": junk}
    kind = rng.choice([0, 0, 0, 1, 1, 1, 2, 3, 3, 3, 4, 4, 4])
    if kind == 0:
        target = rng.choice([f"/{junk}", *ROUTES])
        return {
            "body": None,
            "target": target,
            "headers": headers,
            "method": rng.choice(["GET", "PATCH"]),
        }
    if kind == 1:
        return {"body": body, "target": f"/v1/{junk}", "headers": headers}
    if kind == 2:
        return {"body": b'{"model": "' + junk.encode(), "target": rng.choice(ROUTES), "headers": headers}
    if kind == 3:
        return {
            "body": body,
            "target": rng.choice(ROUTES),
            "headers": headers | {"Authorization": f"Bearer {junk}"},
        }
    return {"body": body, "target": rng.choice(ROUTES) + f"?{junk}=1", "headers": headers}


@async_test
async def test_ten_thousand_made_up_requests_make_no_more_than_twenty_series():
    key = {"Authorization": "Bearer key"}
    async with cluster(api_keys=["key"], tenant_header="X-Tenant") as (front, (replica,)):
        replica.on_post = _picky
        for body in (chat(), stream()):
            assert (await front.ask(body, headers=key)).status == 200
        before = read(await page_of(front))
        statuses = set()

        async def ask(seed):
            rng = random.Random(seed)
            client = await front.client()
            for _ in range(1250):
                request = hostile(rng)
                request["headers"] = key | request["headers"]
                try:
                    answer = await client.ask(**request)
                except (
                    asyncio.IncompleteReadError,
                    ConnectionError,
                ):  # closed behind a body that nobody read
                    client = await front.client()
                    answer = await client.ask(**request)
                statuses.add(answer.status)

        async with asyncio.TaskGroup() as group:
            for seed in range(8):
                group.create_task(ask(seed))
        page = await page_of(front)
        after = read(page)
        assert statuses == {400, 401, 404, 405}
        assert b"junk" not in page
        assert sorted(after.keys() - before.keys(), key=str)[20:] == []
        assert total(page, "balancer_requests_total") == 2 + 10_000


def _picky(connection, request):
    """As vLLM: what is not well is refused."""
    try:
        fine = request.json().get("model") == "m"
    except ValueError:
        fine = False
    if fine:
        answer(connection, request)
    else:
        answers(400, {"error": {"message": "no", "type": "BadRequestError", "param": None, "code": 400}})(
            connection, request
        )
