import asyncio
import contextlib

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from balancer.embedded.engine import PROFILES
from benchmarks.fleets import Fleet, embedded, external
from benchmarks.processes import NotServingError
from benchmarks.replica import ScaledOptions, scaled_profile
from benchmarks.reporting.counters import engine_hit_rate, engines
from tests.fakes.served import served

PAGE = b"""\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0"} 0.0
# TYPE vllm:prefix_cache_queries counter
vllm:prefix_cache_queries_total{engine="0"} 200.0
# TYPE vllm:prefix_cache_hits counter
vllm:prefix_cache_hits_total{engine="0"} 50.0
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with embedded(2, "tiny", tmp_path_factory.mktemp("fleet"), scale=2) as fleet:
        yield fleet


async def ask(fleet, words=400):
    body = {"model": fleet.model, "prompt": "cache " * words, "max_tokens": 4, "ignore_eos": True}
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        for url in fleet.urls:
            async with session.post(f"{url}/v1/completions", json=body) as answer:
                await answer.read()


def test_a_fleet_counts_and_forgets(fleet):
    async def main():
        before = await fleet.samples()
        await ask(fleet)
        await ask(fleet)
        warm = await fleet.samples()
        await fleet.reset()
        await ask(fleet)
        return engines(before, warm), engines(warm, await fleet.samples())

    warm, cold = asyncio.run(main())
    assert engine_hit_rate(warm) == pytest.approx(0.5, abs=0.05)
    assert engine_hit_rate(cold) == 0
    assert list(warm) == list(cold) == list(fleet.urls)


def test_a_fleet_that_runs_already_tells_its_model(fleet):
    found = asyncio.run(external([f"{url}/" for url in fleet.urls]))

    assert (found.urls, found.model) == (fleet.urls, fleet.model)


@contextlib.asynccontextmanager
async def replica(page, reset):
    """A metrics page, and what is said to a reset."""

    async def handle(request):
        return web.Response(body=page) if request.path == "/metrics" else reset()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with served(app) as url:
        yield Fleet([url], "m")


@pytest.mark.parametrize(
    ("page", "reset", "told"),
    [
        (PAGE, lambda: web.json_response({"success": False}), "expected success, got status 200"),
        (PAGE, lambda: web.Response(status=404), "VLLM_SERVER_DEV_MODE=1"),
        (PAGE.replace(b'running{engine="0"} 0', b'running{engine="0"} 1'), web.Response, "still compute"),
    ],
)
def test_a_reset_that_did_not_happen_is_told(page, reset, told):
    async def main():
        async with replica(page, reset) as fleet:
            await fleet.reset(quiet_within_s=0)

    with pytest.raises(NotServingError, match=told):
        asyncio.run(main())


def test_nobody_there_is_told():
    with pytest.raises(NotServingError, match=r"127\.0\.0\.1:9/v1/models: expected an answer"):
        asyncio.run(external(["http://127.0.0.1:9"]))


@given(
    st.sampled_from(list(PROFILES.values())),
    st.integers(1, 16),
    st.integers(0, 512),
    st.integers(0, 512),
    st.integers(0, 64),
)
def test_a_scaled_step_takes_as_long_as_those_that_it_stands_for(profile, scale, prefill, context, sequences):
    """One that decodes stands for `scale` steps, over as many times the tokens."""
    scaled = scaled_profile(profile, scale).step_s(
        prefill_tokens=prefill,
        attention=prefill * context,
        decode_sequences=sequences,
        decode_context_tokens=sequences * context,
    )
    whole = sum(
        profile.step_s(
            prefill_tokens=prefill,
            attention=prefill * context * scale,
            decode_sequences=sequences,
            decode_context_tokens=sequences * context * scale,
        )
        for _ in range(scale)
    )
    assert scaled == pytest.approx(whole)


def test_a_scaled_replica_remembers_that_many_tokens_less():
    whole, scaled = (ScaledOptions(profile="qwen3-32b-2xh100", scale=scale) for scale in (1, 4))

    assert scaled.kv_tokens == pytest.approx(whole.kv_tokens / 4, abs=16)
    assert scaled.model_len == whole.model_len // 4
