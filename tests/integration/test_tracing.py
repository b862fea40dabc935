"""Traces, from the client's head to the collector: what was decided, what was asked, and whose child the replica's span is."""

import asyncio
import json
import logging
import socket
from time import time_ns

import pytest

from tests.fakes.balancer import cluster
from tests.fakes.client import LOOPBACK, chat, stream
from tests.fakes.collector import collecting
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.policies import hold
from tests.fakes.replica import answer, answers, silent
from tests.fakes.tiers import tiered

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
NOT_TRACED = f"00-{TRACE}-00f067aa0ba902b7-00"


@on_both_loops
async def test_a_stream_is_a_trace_below_the_clients_span_and_the_replicas_below_ours():
    before_ns = time_ns()
    async with collecting() as collector:
        async with cluster(otlp_traces_endpoint=collector.url, policy="cache_aware") as (front, (replica,)):
            heads = {"traceparent": PARENT, "tracestate": "a=1", "baggage": "who=me", "X-Request-Id": "id-1"}
            assert (await front.ask(stream("secret words"), headers=heads)).status == 200
            (post,) = replica.posts
        assert collector.paths == ["/v1/traces"]
        assert {span.trace_id for span in collector.spans} == {TRACE}
        (request,), (attempt,) = collector.of("server"), collector.of("client")
        (schedule,), (streamed,) = collector.named("schedule"), collector.named("stream")
        assert len(collector.spans) == 4
        assert [request.parent_id, attempt.parent_id, schedule.parent_id, streamed.parent_id] == [
            "00f067aa0ba902b7", request.span_id, request.span_id, attempt.span_id,
        ]  # fmt: skip
        assert post.all("traceparent") == [f"00-{TRACE}-{attempt.span_id}-01"]
        assert (post.all("tracestate"), post.all("baggage")) == (["a=1"], ["who=me"])
        assert (request.name, attempt.name) == ("POST /v1/chat/completions", "chat m")
        assert not any(span.error for span in collector.spans)
        assert before_ns <= request.start_ns <= schedule.start_ns <= schedule.end_ns <= attempt.end_ns
        assert attempt.start_ns <= streamed.start_ns <= streamed.end_ns <= request.end_ns <= time_ns()
        ((event, at_ns),) = streamed.events
        assert event == "first token"
        assert streamed.start_ns <= at_ns <= streamed.end_ns
        told = request.attributes
        assert 0 < told.pop("balancer.ttft") < 10
        assert len(told.pop("balancer.decision.id")) == 32
        assert told == {
            "http.request.method": "POST",
            "http.route": "/v1/chat/completions",
            "url.path": "/v1/chat/completions",
            "url.scheme": "http",
            "http.response.status_code": 200,
            "gen_ai.request.model": "m",
            "gen_ai.usage.input_tokens": 7,
            "gen_ai.usage.output_tokens": 2,
            "balancer.request.id": "id-1",
            "balancer.replica": "r0",
            "balancer.reason": "least_work",
            "balancer.ended_by": "answer",
            "balancer.attempts": 1,
        }
        told = attempt.attributes
        assert 0 < told.pop("gen_ai.response.time_to_first_chunk") < 10
        assert told == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "vllm",
            "gen_ai.request.model": "m",
            "gen_ai.request.stream": True,
            "gen_ai.usage.input_tokens": 7,
            "gen_ai.usage.output_tokens": 2,
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "url.full": f"{replica.url}/v1/chat/completions",
            "server.address": LOOPBACK,
            "server.port": replica.port,
            "balancer.replica": "r0",
            "balancer.reason": "least_work",
            "balancer.outcome": "answered",
        }
        assert "secret" not in repr([span.attributes for span in collector.spans])
        assert collector.resource["service.name"] == "vllm-balancer"


@async_test
async def test_each_attempt_is_a_span_and_the_replica_it_went_to_its_parent():
    async with collecting() as collector:
        async with cluster(2, otlp_traces_endpoint=collector.url) as (front, replicas):
            failed = []

            def once(connection, request):
                if failed:
                    answer(connection, request)
                else:
                    failed.append(request)
                    connection.respond(500, {"error": "no"})

            for replica in replicas:
                replica.on_post = once
            assert (await front.ask(chat())).status == 200
            posts = [post for replica in replicas for post in replica.posts]
        (request,) = collector.of("server")
        first, second = collector.of("client")
        parents = {post.all("traceparent")[0] for post in posts}
        assert {parent[:-3] for parent in parents} == {
            f"00-{request.trace_id}-{span.span_id}" for span in (first, second)
        }
        assert all(
            int(parent[-2:], 16) & 1 for parent in parents
        )  # sampled; level 2 has a flag for random ids
        assert (first.error, first.attributes["error.type"]) == (True, "500")
        assert (second.error, second.attributes["http.request.resend_count"]) == (False, 1)
        assert {span.attributes["balancer.replica"] for span in (first, second)} == {"r0", "r1"}
        assert (request.error, request.attributes["balancer.attempts"]) == (False, 2)
        assert len(collector.named("schedule")) == 2


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (answers(503, {"error": "full"}), "503"),
        (lambda connection, request: connection.transport.abort(), "broken"),
    ],
    ids=["503", "broken"],
)
@async_test
async def test_what_failed_is_told_as_an_error(script, kind):
    async with collecting() as collector:
        async with cluster(otlp_traces_endpoint=collector.url, max_attempts=1) as (front, (replica,)):
            replica.on_post = script
            status = (await front.ask(chat())).status
        (request,), attempts = collector.of("server"), collector.of("client")
        assert status >= 500
        assert (request.error, request.attributes["http.response.status_code"]) == (True, status)
        assert all(span.error for span in attempts)
        assert attempts[-1].attributes["error.type"] == kind


@async_test
async def test_a_client_that_left_is_no_error_of_ours():
    async with collecting() as collector:
        async with cluster(otlp_traces_endpoint=collector.url) as (front, (replica,)):
            replica.on_post = silent
            client = await front.client()
            client.send(stream())
            await until(lambda: replica.posts)
            await client.close()
            await until(front.idle)
        (request,), (attempt,) = collector.of("server"), collector.of("client")
        assert (request.error, request.attributes["balancer.ended_by"]) == (False, "client")
        assert request.attributes["http.response.status_code"] == 499
        assert (attempt.error, attempt.attributes["balancer.outcome"]) == (True, "cancelled")


@async_test
async def test_how_long_it_was_held_is_a_span():
    async with collecting() as collector:
        async with cluster(otlp_traces_endpoint=collector.url) as (front, (replica,)):
            hold(front)
            asked = []
            replica.on_post = lambda connection, request: asked.append((connection, request))
            clients = [await front.client() for _ in range(2)]
            for client in clients:
                client.send(stream())
            await until(lambda: asked and len(front.balancer.decider.line) == 1)
            replica.on_post = answer
            answer(*asked[0])
            for client in clients:
                assert (await client.read()).complete
        (held,) = collector.named("admission")
        request = next(span for span in collector.of("server") if span.span_id == held.parent_id)
        attempt = next(span for span in collector.of("client") if span.parent_id == request.span_id)
        assert request.start_ns <= held.start_ns < held.end_ns
        assert abs(attempt.start_ns - held.end_ns) < 1e9


@async_test
async def test_each_tier_that_was_asked_is_a_span_and_a_provider_learns_of_no_trace():
    async with collecting() as collector:
        async with tiered(otlp_traces_endpoint=collector.url) as tiers:
            for replica in (tiers.small, tiers.large):
                replica.on_post = answers(503, {"error": "full"})
            assert (await tiers.ask(headers={"traceparent": PARENT, "baggage": "who=me"})).status == 200
            (asked,) = tiers.hosted.posts
            assert [asked.all(name) for name in ("traceparent", "tracestate", "baggage")] == [[], [], []]
        (request,) = collector.of("server")
        found = sorted(collector.named("tier"), key=lambda span: span.start_ns)
        assert [span.attributes["balancer.tier"] for span in found] == ["small", "large", "hosted"]
        assert [span.attributes["balancer.tier.reason"] for span in found] == [
            "asked",
            "fallback",
            "fallback",
        ]
        assert {span.attributes["balancer.asked_model"] for span in found} == {"auto"}
        assert {span.parent_id for span in found} == {request.span_id}
        assert (request.attributes["gen_ai.request.model"], request.attributes["gen_ai.response.model"]) == (
            "auto",
            "p",
        )
        by_tier = {span.attributes["gen_ai.request.model"]: span for span in collector.of("client")}
        assert by_tier["p"].attributes["gen_ai.provider.name"] == "hosted"
        assert by_tier["s"].attributes["gen_ai.provider.name"] == "vllm"


@pytest.mark.parametrize("settings", [{}, {"trace_sample": 0}], ids=["off", "none"])
@async_test
async def test_who_is_not_traced_passes_with_the_heads_that_came(settings):
    heads = {"traceparent": PARENT if not settings else NOT_TRACED, "tracestate": "a=1", "baggage": "who=me"}
    async with collecting() as collector:
        endpoint = {"otlp_traces_endpoint": collector.url} if settings else {}
        async with cluster(**endpoint, **settings) as (front, (replica,)):
            await front.ask(chat(), headers=heads)
            await front.ask(chat())
            came, none_came = replica.posts
            assert {name: came.all(name) for name in heads} == {name: [heads[name]] for name in heads}
            parents = none_came.all("traceparent")
            # the replica is told of the decision, lest it begin a trace of its own
            assert [parent[-3:] for parent in parents] == (["-00"] if settings else [])
        assert collector.spans == []


@async_test
async def test_the_access_log_names_the_trace(caplog):
    caplog.set_level(logging.INFO, logger="balancer.access")
    async with (
        collecting() as collector,
        cluster(otlp_traces_endpoint=collector.url, access_log=True) as (front, _),
    ):
        await front.ask(chat(), headers={"traceparent": PARENT})
        lines = []
        await until(
            lambda: (
                lines.extend(r.getMessage() for r in caplog.records if r.name == "balancer.access") or lines
            )
        )
        assert json.loads(lines[0])["trace_id"] == TRACE


@async_test
async def test_names_that_no_encoding_holds_spoil_no_batch():
    async with collecting() as collector:
        async with cluster(otlp_traces_endpoint=collector.url) as (front, _):
            body = json.dumps({**chat(), "model": "\ud800" + "x" * 9999}).encode()
            assert (await front.ask(body)).status == 404
            assert (await front.ask(chat())).status == 200
        refused, served = sorted(collector.of("server"), key=lambda span: span.start_ns)
        assert refused.attributes["gen_ai.request.model"] == "?" + "x" * 255
        assert (refused.error, refused.attributes["http.response.status_code"]) == (False, 404)
        assert served.attributes["gen_ai.request.model"] == "m"


@async_test
async def test_what_the_environment_says_holds(monkeypatch):
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=a")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "edge")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        async with cluster() as (front, (replica,)):
            await front.ask(chat())
            await front.ask(chat(), headers={"traceparent": PARENT})
            assert [int(post.all("traceparent")[0][-2:], 16) & 1 for post in replica.posts] == [0, 1]
        assert len(collector.of("server")) == 1
        assert collector.headers[0]["x-team"] == "a"
        assert (collector.resource["service.name"], collector.resource["deployment.environment"]) == (
            "edge",
            "test",
        )
        assert collector.resource["service.version"]


@pytest.mark.parametrize(
    "more", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}],
    ids=["disabled", "none", "grpc"],
)  # fmt: skip
@async_test
async def test_the_environment_may_say_that_there_are_none(monkeypatch, more):
    async with collecting() as collector:
        for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **more}.items():
            monkeypatch.setenv(name, value)
        async with cluster() as (front, (replica,)):
            await front.ask(chat(), headers={"traceparent": PARENT})
            assert replica.posts[0].all("traceparent") == [PARENT]
        assert collector.paths == []


@pytest.mark.parametrize("trouble", ["down", "hangs", "refuses"])
@async_test
async def test_a_collector_in_trouble_hurts_nobody(trouble, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    async with collecting() as collector:
        url = collector.url
        if trouble == "down":
            with socket.socket() as closed:
                closed.bind((LOOPBACK, 0))
                url = f"http://{LOOPBACK}:{closed.getsockname()[1]}"
        collector.hangs = trouble == "hangs"
        collector.status = 400 if trouble == "refuses" else 200
        # the SDK itself would wait for 30 s
        async with asyncio.timeout(20), cluster(otlp_traces_endpoint=url) as (front, _):
            for _ in range(20):
                assert (await front.ask(stream())).complete
        assert collector.spans == []
