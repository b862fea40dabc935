"""What the balancer believes of replicas that answer like vLLM, against what they tell."""

import contextlib

import pytest

from tests.accounting.test_metrics import value
from tests.embedded.replica_client import replica
from tests.fakes.balancer import balancing
from tests.fakes.loops import async_test, until

TURNS = 5
PARAGRAPH = "The quick brown fox jumps over the lazy dog, and over whatever else lies in its way. " * 12

ROUTES = {
    "/v1/chat/completions": lambda turns: {"messages": turns, "max_tokens": 3},
    "/v1/messages": lambda turns: {"messages": turns, "max_tokens": 3},
    "/v1/responses": lambda turns: {"input": turns, "max_output_tokens": 3},
}


@contextlib.asynccontextmanager
async def fronted(count):
    async with contextlib.AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(replica()) for _ in range(count)]
        urls = [str(each.session._base_url).rstrip("/") for each in replicas]
        yield await stack.enter_async_context(balancing(*urls)), replicas


async def converse(front, path, name, *, stream):
    """Each turn is sent when the one before it is answered."""
    turns = []
    for number in range(TURNS):
        turns.append({"role": "user", "content": f"{name}, {number}: {PARAGRAPH}"})
        body = {"model": "m", "stream": stream, **ROUTES[path](turns)}
        if stream and path == "/v1/chat/completions":
            body["stream_options"] = {"include_usage": True}
        answer = await front.ask(body, target=path)
        assert (answer.status, answer.complete) == (200, True)
        turns.append({"role": "assistant", "content": "Indeed."})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ROUTES)
@async_test
async def test_hits_are_those_that_were_expected(path, stream):
    async with fronted(2) as (front, replicas):
        for name in ("Ada", "Grace", "Barbara"):
            await converse(front, path, name, stream=stream)
        await until(front.idle)
        page = (await front.ask(target="/metrics")).body
        both = [state.id for state in front.fleet]

        def total(name):
            return sum(value(page, name, replica=each) or 0 for each in both)

        prompt = value(page, "balancer_tokens_total", model_name="m", tenant="", kind="prompt")
        queries = sum([await each.metric("vllm:prefix_cache_queries_total") for each in replicas])
        hits = sum([await each.metric("vllm:prefix_cache_hits_total") for each in replicas])
        assert prompt == queries
        assert total("balancer_actual_hit_tokens_total") == hits > 0.5 * prompt
        assert total("balancer_predicted_hit_tokens_total") == pytest.approx(hits, rel=0.2)


@async_test
async def test_streams_teach_how_fast_a_replica_is_and_answers_how_long_its_prompts_are():
    async with fronted(1) as (front, _):
        tokens = front.balancer.decider.tokens
        assert tokens.bytes_per_token("m") == 4
        for number in range(8):
            await converse(front, "/v1/chat/completions", f"Number {number}", stream=True)
        await until(front.idle)
        page = (await front.ask(target="/metrics")).body
        (state,) = front.fleet
        error = "balancer_ttft_prediction_error_seconds"
        assert value(page, f"{error}_count", replica=state.id) == 8 * TURNS
        assert value(page, f"{error}_sum", replica=state.id) / (8 * TURNS) < 0.1
        assert tokens.bytes_per_token("m") != 4
