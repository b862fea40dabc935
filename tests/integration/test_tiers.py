"""A model that is ours to choose: which tier is asked, which stands in for it, and what the answer tells of that."""

import json

import pytest

from balancer.core.types import Health
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import ROLE, SSE_HEAD, Replica, answer, answers, chunk, silent, token
from tests.fakes.tiers import KEY, tiered

BUSY = {"error": {"message": "busy", "type": "ServiceUnavailableError", "code": 503}}
TOO_LONG = {
    "error": {
        "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }
}


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("HOSTED_API_KEY", KEY)


def told(reply):
    return {
        name.removeprefix("x-balancer-"): value
        for name, value in reply.headers
        if name.startswith("x-balancer-") and name != "x-balancer-decision-id"
    }


@on_both_loops
async def test_a_virtual_model_is_its_tiers_model_to_the_replica_and_all_else_is_as_it_came():
    async with tiered() as tiers:
        body = b'{ "messages":[{"role":"user","content":"hi"}], "model" : "auto","x":1.0 }'
        reply = await tiers.ask(body)
        assert (reply.status, reply.json()["served_by"]) == (200, "r-small")
        assert told(reply).keys() == {"replica", "reason", "tier", "tier-reason"}
        assert (told(reply)["replica"], told(reply)["tier"], told(reply)["tier-reason"]) == (
            "r-small",
            "small",
            "asked",
        )
        assert len(reply.get("x-balancer-decision-id")) == 32
        assert tiers.small.posts[0].body == body.replace(b'"auto"', b'"s"')
        assert (await tiers.ask(stream(model="auto"))).complete
        assert tiers.front.idle()


@on_both_loops
async def test_a_concrete_model_is_never_tiered():
    async with tiered() as tiers:
        tiers.small.on_post = answers(503, BUSY)
        reply = await tiers.ask(chat(model="s"))
        assert (reply.status, reply.json()) == (503, BUSY)
        assert tiers.asked() == ["s"]
        assert "tier" not in told(reply)
        assert told(reply)["replica"] == "r-small"


@pytest.mark.parametrize(
    ("status", "body", "trouble"),
    [
        (503, BUSY, "saturated"),
        (429, BUSY, "limited"),
        (500, BUSY, "failing"),
        (400, TOO_LONG, "context"),
    ],
)
@async_test
async def test_a_tier_in_trouble_is_left_for_the_next(status, body, trouble):
    async with tiered() as tiers:
        tiers.small.on_post = answers(status, body)
        for request in (chat(model="auto"), stream(model="auto")):
            reply = await tiers.ask(request)
            assert reply.status == 200
            assert told(reply)["fallback"] == f"small={trouble}"
            assert (told(reply)["tier"], told(reply)["tier-reason"]) == ("large", "fallback")
        assert set(tiers.asked()) == {"s", "l"}
        assert tiers.front.idle()


@async_test
async def test_who_stands_in_is_written_for_each_trouble():
    chain = [{"to": "large", "on": "context"}, {"to": "hosted", "on": ["saturated", "failing"]}]
    async with tiered({"auto": {"tiers": ["small"], "fallback": chain}}) as tiers:
        tiers.small.on_post = answers(503, BUSY)
        assert told(await tiers.ask())["tier"] == "hosted"
        tiers.small.on_post = answers(400, TOO_LONG)
        assert told(await tiers.ask())["tier"] == "large"
        tiers.small.on_post = answers(429, BUSY, [("Retry-After", "3")])
        reply = await tiers.ask()
        assert (reply.status, reply.json(), reply.get("retry-after")) == (429, BUSY, "3")


@on_both_loops
async def test_each_tier_is_asked_once_and_the_last_error_tells_of_all():
    async with tiered() as tiers:
        tiers.small.on_post = answers(503, BUSY)
        tiers.large.on_post = answers(400, TOO_LONG)
        tiers.hosted.on_post = answers(
            429, {"error": {"message": "Slow down", "type": "requests", "code": "x"}}
        )
        reply = await tiers.ask()
        assert reply.status == 429
        assert reply.json()["error"] == {
            "message": "Slow down Tried: small (saturated), large (context), hosted (limited).",
            "type": "requests",
            "param": None,
            "code": "x",
        }
        assert tiers.asked() == ["s", "l", "p"]
        assert tiers.front.idle()


@async_test
async def test_a_provider_gets_its_own_key_and_nothing_of_the_clients():
    chosen = {"best": {"tiers": ["hosted"]}}
    async with tiered(chosen) as tiers:
        sent = {
            "Authorization": "Bearer client-key",
            "Cookie": "a=b",
            "X-Session-Id": "s1",
            "Accept-Encoding": "gzip",
        }
        theirs = [("Set-Cookie", "c=d"), ("openai-organization", "acme"), ("x-ratelimit-limit-requests", "9")]
        answered = {"served_by": "r-hosted"}
        tiers.hosted.on_post = answers(
            200, answered, [*theirs, ("X-Request-Id", "7"), ("x-balancer-replica", "x")]
        )
        reply = await tiers.ask(chat(model="best", stream_options=None), headers=sent)
        assert (reply.get("x-request-id"), reply.json()) == ("7", answered)
        assert not any(reply.get(name) for name, _ in theirs)
        assert (reply.status, told(reply)["tier"], told(reply)["replica"]) == (200, "hosted", "hosted")
        [post] = tiers.hosted.posts
        assert post.target == "/v1/chat/completions"
        assert post.all("authorization") == [f"Bearer {KEY}"]
        assert not any(post.all(name) for name in ("cookie", "x-session-id", "accept-encoding"))
        assert post.json() == chat(model="p", stream_options=None)
        assert not tiers.hosted.probes


@async_test
async def test_a_provider_is_asked_by_its_models_name_and_by_nothing_else():
    async with tiered() as tiers:
        assert (await tiers.ask(chat(model="p"))).json()["served_by"] == "r-hosted"
        for replica in (tiers.small, tiers.large):
            await replica.stop()
        for body in (chat(model="s"), {"messages": []}):
            assert (await tiers.ask(body)).status == 502
        assert tiers.asked() == ["p"]


@pytest.mark.parametrize("status", [401, 403])
@async_test
async def test_a_provider_that_refuses_our_key_fails_and_its_words_stay_here(status):
    async with tiered(
        {"best": {"tiers": ["hosted"]}, "auto": {"tiers": ["hosted"], "fallback": "large"}}
    ) as tiers:
        tiers.hosted.on_post = answers(status, {"error": {"message": "Incorrect API key: sk-12***key"}})
        for model in ("best", "p"):
            reply = await tiers.ask(chat(model=model))
            assert reply.status == 502
            assert "credentials" in reply.json()["error"]["message"]
            assert b"sk-12" not in reply.body
        reply = await tiers.ask(chat(model="auto"))
        assert (reply.status, told(reply)["fallback"]) == (200, "hosted=failing")


@async_test
async def test_a_provider_that_failed_is_left_alone_and_then_tried():
    chosen = {"auto": {"tiers": ["hosted"], "fallback": "large"}}
    async with tiered(chosen, ejection_s=0.3) as tiers:
        tiers.hosted.on_post = answers(500, BUSY)
        while tiers.state("hosted").health is not Health.EJECTED:
            assert (await tiers.ask()).json()["served_by"] == "r-large"
        tried = len(tiers.hosted.posts)
        assert told(await tiers.ask())["fallback"] == "hosted=failing"
        assert len(tiers.hosted.posts) == tried
        tiers.hosted.on_post = answer
        while (await tiers.ask()).json()["served_by"] != "r-hosted":
            pass
        assert tiers.state("hosted").health is Health.HEALTHY


@async_test
async def test_a_providers_limits_are_kept_and_told():
    chosen = {"best": {"tiers": ["hosted"]}, "auto": {"tiers": ["hosted"], "fallback": "large"}}
    async with tiered(chosen, hosted={"requests_per_minute": 2}) as tiers:
        assert [(await tiers.ask(chat(model="best"))).status for _ in range(2)] == [200, 200]
        reply = await tiers.ask(chat(model="best"))
        assert reply.status == 429
        assert 20 <= int(reply.get("retry-after")) <= 30
        assert reply.json()["error"]["code"] == "rate_limit_exceeded"
        reply = await tiers.ask()
        assert (reply.json()["served_by"], told(reply)["fallback"]) == ("r-large", "hosted=limited")
        assert len(tiers.hosted.posts) == 2


@async_test
async def test_a_provider_that_said_when_to_come_back_is_asked_no_sooner():
    chosen = {"auto": {"tiers": ["hosted"], "fallback": "large"}}
    async with tiered(chosen) as tiers:
        tiers.hosted.on_post = answers(429, BUSY, [("Retry-After", "30")])
        for _ in range(3):
            assert told(await tiers.ask())["fallback"] == "hosted=limited"
        assert len(tiers.hosted.posts) == 1
        reply = await tiers.ask(chat(model="p"))
        assert (reply.status, reply.get("retry-after")) == (429, "30")


@async_test
async def test_a_stream_without_a_first_token_in_time_goes_on_elsewhere():
    chosen = {"auto": {"tiers": ["hosted"], "fallback": "large"}}
    async with tiered(chosen, hosted={"first_token_timeout_s": 0.2, "max_attempts": 1}) as tiers:
        tiers.hosted.on_post = silent
        reply = await tiers.ask(stream(model="auto"))
        assert (reply.complete, told(reply)["fallback"]) == (True, "hosted=timeout")
        assert reply.events()[1]["choices"][0]["delta"]["content"] == "r-large"
        assert tiers.front.idle()


@on_both_loops
async def test_a_provider_that_dies_before_it_answers_is_asked_again_and_then_left():
    chosen = {"auto": {"tiers": ["hosted"], "fallback": "large"}}
    async with tiered(chosen, hosted={"max_attempts": 3}, health_failure_threshold=9) as tiers:
        tiers.hosted.on_post = lambda connection, request: connection.reset()
        reply = await tiers.ask()
        assert told(reply)["fallback"] == "hosted=failing"
        assert len(tiers.hosted.posts) == 3


@async_test
async def test_a_stream_that_a_provider_breaks_off_is_not_gone_on_with():
    async with tiered({"auto": {"tiers": ["hosted"], "fallback": "large"}}) as tiers:

        def breaks(connection, request):
            connection.write(SSE_HEAD, chunk(ROLE), chunk(token("a")))
            connection.fin()

        tiers.hosted.on_post = breaks
        reply = await tiers.ask(stream(model="auto", temperature=0))
        assert reply.events()[-1]["error"]["code"] == 502
        assert tiers.asked() == ["p"]


@async_test
async def test_a_tier_that_is_down_is_passed_over_at_once():
    async with tiered() as tiers:
        await tiers.small.stop()
        await until(lambda: tiers.state("r-small").health is Health.UNHEALTHY)
        reply = await tiers.ask()
        assert (reply.json()["served_by"], told(reply)["fallback"]) == ("r-large", "small=failing")


@async_test
async def test_models_and_virtual_models_are_listed():
    async with tiered(model_aliases={"gpt-4o": "auto"}) as tiers:
        listed = (await tiers.front.ask(target="/v1/models")).json()["data"]
        owners = {entry["id"]: entry.get("owned_by") for entry in listed}
        assert owners == {
            "s": None,
            "l": None,
            "p": "hosted",
            "auto": "vllm-balancer",
            "gpt-4o": "vllm-balancer",
        }
        assert (await tiers.front.ask(target="/v1/models/auto")).json()["id"] == "auto"
        assert told(await tiers.ask(chat(model="gpt-4o")))["tier"] == "small"


@async_test
async def test_a_request_names_its_own_fallbacks():
    async with tiered() as tiers:
        tiers.small.on_post = answers(503, BUSY)
        reply = await tiers.ask(chat(model="s", models=["l"], provider={"allow_fallbacks": True}))
        assert (reply.status, told(reply)["fallback"]) == (200, "small=saturated")
        assert "models" not in tiers.large.posts[0].json()
        assert (await tiers.ask(chat(provider={"foo": 1}, model="auto"))).json()["error"][
            "param"
        ] == "provider.foo"


@async_test
async def test_what_it_cost_is_counted_and_logged(caplog):
    caplog.set_level("INFO", logger="balancer.access")
    async with tiered(access_log=True) as tiers:
        tiers.small.on_post = answers(503, BUSY)
        await tiers.ask()
        page = (await tiers.front.ask(target="/metrics")).body.decode()
        # 7 tokens at 10 USD a million, 2 at 20
        assert 'balancer_cost_usd_total{model_name="l",tenant="",tier="large"} 0.00011' in page
        assert 'balancer_tier_requests_total{reason="fallback",tier="large",virtual_model="auto"} 1.0' in page
        assert 'balancer_tier_fallbacks_total{reason="saturated",tier="small"} 1.0' in page
        [line] = [json.loads(r.getMessage()) for r in caplog.records if r.name == "balancer.access"]
        expected = {
            "asked": "auto",
            "tier": "large",
            "tier_reason": "fallback",
            "left": "small=saturated",
            "usd": 0.00011,
        }
        assert {name: line.get(name) for name in expected} == pytest.approx(expected)
        await tiers.ask(chat(model="s" * 50, models=["t" * 50]))
        await tiers.ask(chat(model="p"))
        page = (await tiers.front.ask(target="/metrics")).body.decode()
        assert "ttt" not in page
        assert 'balancer_cost_usd_total{model_name="p",tenant="",tier="hosted"} 0.0011' in page


@async_test
async def test_a_tier_whose_line_is_full_is_left():
    chosen = {"auto": {"tiers": ["small"], "fallback": [{"to": "large", "on": "saturated"}]}}
    async with tiered(chosen, max_in_flight_per_replica=1, max_waiting=0) as tiers:
        held = []
        tiers.small.on_post = lambda connection, request: held.append(connection)
        client = await tiers.front.client()
        client.send(chat(model="auto"))
        await until(lambda: held)
        reply = await tiers.ask()
        assert (reply.json()["served_by"], told(reply)["fallback"]) == ("r-large", "small=saturated")
        held[0].respond(200, {})
        assert (await client.read()).status == 200


@async_test
async def test_a_request_that_waited_too_long_for_a_tier_is_sent_to_the_next():
    async with tiered(max_in_flight_per_replica=1, max_wait_s=0.1, policy="round_robin") as tiers:
        held = []
        tiers.small.on_post = lambda connection, request: held.append(connection)
        client = await tiers.front.client()
        client.send(chat(model="auto"))
        await until(lambda: held)
        reply = await tiers.ask()
        assert (reply.json()["served_by"], told(reply)["fallback"]) == ("r-large", "small=saturated")
        held[0].respond(200, {})
        await client.read()
        assert tiers.front.idle()


@async_test
async def test_who_has_spent_its_budget_is_refused_and_others_are_not():
    keys = {"api_keys": ["k-blue"], "tenants": {"team": {"usd_per_day": 0.00001}}, "tenant_header": "x-team"}
    headers = {"Authorization": "Bearer k-blue", "X-Team": "team"}
    async with tiered(**keys) as tiers:
        # 7 prompt tokens at 1 USD a million and 2 at 2 are 0.000011
        assert (await tiers.ask(headers=headers)).status == 200
        for model in ("auto", "s"):
            reply = await tiers.ask(chat(model=model), headers=headers)
            assert (reply.status, reply.json()["error"]["code"]) == (429, "insufficient_quota")
            assert int(reply.get("retry-after")) > 0
        assert (await tiers.ask(headers={**headers, "X-Team": "other"})).status == 200


@async_test
async def test_who_costs_too_much_does_not_stand_in_and_that_is_told():
    async with tiered() as tiers:
        tiers.small.on_post = answers(503, BUSY)
        cheap = {"max_price": {"prompt": 50, "completion": 50}}
        reply = await tiers.ask(chat(model="auto", provider=cheap))
        assert (told(reply)["tier"], told(reply)["skipped"]) == ("large", "hosted=max_price")
        tiers.large.on_post = answers(503, BUSY)
        reply = await tiers.ask(chat(model="auto", provider=cheap))
        tried = "Tried: small (saturated), large (saturated), hosted (max_price)."
        assert (reply.status, reply.json()["error"]["message"]) == (503, f"busy {tried}")
        assert not tiers.hosted.posts


@async_test
async def test_a_stored_response_is_gone_on_with_where_it_is():
    path = "/v1/responses"
    chosen = {
        "auto": {"tiers": ["small", "large"], "threshold": 0.5, "default": "small", "classifier": "length"}
    }
    async with tiered(chosen) as tiers:
        answered = await tiers.ask({"model": "l", "input": "hi"}, target=path)
        going_on = {"model": "auto", "input": "more", "previous_response_id": answered.json()["id"]}
        reply = await tiers.ask(going_on, target=path)
        assert (reply.json()["served_by"], told(reply)["tier"]) == ("r-large", "large")
        assert told(reply)["reason"] == "pinned"
        tiers.large.on_post = answers(500, BUSY)
        reply = await tiers.ask(going_on, target=path)
        assert (reply.status, tiers.asked()[-1]) == (500, "l")


@async_test
async def test_no_heads_where_nobody_is_to_see_names():
    async with tiered(decision_headers=False) as tiers:
        reply = await tiers.ask()
        assert reply.status == 200
        assert not any(name.startswith("x-balancer") for name, _ in reply.headers)


@async_test
async def test_an_alias_is_good_on_every_route_and_in_forms():
    async with tiered(model_aliases={"whisper-1": "l", "text-embedding-3": "small"}) as tiers:
        reply = await tiers.ask({"model": "text-embedding-3", "input": "a"}, target="/v1/embeddings")
        assert (reply.json()["served_by"], tiers.small.posts[0].json()["model"]) == ("r-small", "s")
        form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        reply = await tiers.ask(form, target="/v1/audio/transcriptions", headers=kind)
        assert reply.json()["served_by"] == "r-large"
        assert tiers.large.posts[0].body == form.replace(b"whisper-1", b"l")


@async_test
async def test_a_stream_goes_on_at_another_replica_of_its_tier():
    twin = await Replica("r-twin", model="s").start()
    async with tiered({"auto": {"tiers": ["small"], "fallback": "large"}}, twins=[twin]) as tiers:
        broken = []

        def breaks(connection, request):
            if broken:
                answer(connection, request)
                return
            broken.append(connection.replica)
            connection.write(SSE_HEAD, chunk(ROLE), chunk(token("a")))
            connection.fin()

        tiers.small.on_post = twin.on_post = breaks
        reply = await tiers.ask(stream(model="auto", temperature=0))
        assert reply.complete
        other = "r-twin" if broken[0] is tiers.small else "r-small"
        text = [e["choices"][0]["delta"].get("content") for e in reply.events()[:-1] if e["choices"]]
        assert "".join(filter(None, text)) == f"a{other}"
        assert not tiers.large.posts
    await twin.stop()


@async_test
async def test_the_score_decides_and_is_told():
    chosen = {
        "auto": {"tiers": ["small", "large"], "threshold": 0.5, "classifier": "length", "sticky": False}
    }
    async with tiered(chosen) as tiers:
        scores = []
        for text, tier in (
            ("What is the capital of France?", "small"),
            ("Prove this lemma. " * 200, "large"),
        ):
            reply = await tiers.ask(chat(text, model="auto"))
            assert (reply.status, told(reply)["tier"], told(reply)["threshold"]) == (200, tier, "0.500")
            assert told(reply)["tier-reason"] in {"score", "band"}
            scores.append(float(told(reply)["score"]))
        assert scores[0] < 0.5 < scores[1]
        reply = await tiers.ask(chat("Prove this lemma. " * 200, model="router-length-1.0"))
        assert (told(reply)["tier"], told(reply)["threshold"]) == ("small", "1.000")
        large = {"x-balancer-tier": "large"}
        reply = await tiers.ask(chat(model="auto"), headers=large)
        assert (told(reply)["tier"], told(reply)["tier-reason"]) == ("large", "asked")
        assert not any(post.all("x-balancer-tier") for post in tiers.hosted.posts)


@async_test
async def test_a_conversation_keeps_its_tier_also_where_the_policy_reads_no_prompts():
    chosen = {"auto": {"tiers": ["small", "large"], "threshold": 0.5, "classifier": "length"}}
    async with tiered(chosen, policy="round_robin") as tiers:
        first = {"role": "user", "content": "Prove this lemma. " * 200}
        assert told(await tiers.ask({"model": "auto", "messages": [first]}))["tier"] == "large"
        history = [first, {"role": "assistant", "content": "Done."}, {"role": "user", "content": "thanks"}]
        reply = await tiers.ask({"model": "auto", "messages": history})
        assert (told(reply)["tier"], told(reply)["tier-reason"]) == ("large", "sticky")
        reply = await tiers.ask(chat("thanks", model="auto"))
        assert told(reply)["tier"] == "small"


@async_test
async def test_the_bundled_score_goes_to_the_default_where_it_knows_nothing():
    async with tiered({"auto": {"tiers": ["small", "large"], "threshold": 0.3, "default": "large"}}) as tiers:
        easy = await tiers.ask(chat("What is the capital of France?", model="auto"))
        assert (told(easy)["tier"], float(told(easy)["score"]) < 0.3) == ("small", True)
        unknown = await tiers.ask(chat("\U0001f600", model="auto"))
        assert (told(unknown)["tier"], told(unknown)["tier-reason"]) == ("large", "default")
        assert "score" not in told(unknown)
