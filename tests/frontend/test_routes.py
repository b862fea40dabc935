"""An allow-list: what is not on it never reaches a replica, however it is written."""

import pytest

from balancer.core.types import RouteKind
from balancer.vllm_api.routes import Dialect, dialect_of, inference_routes, stored_response_id
from tests.fakes.balancer import cluster
from tests.fakes.client import CHAT, chat
from tests.fakes.loops import async_test, on_both_loops

ROUTES = inference_routes(scale_out=False)
SCALE_OUT = inference_routes(scale_out=True).keys() - ROUTES.keys()
# what vLLM serves beside inference, in development mode and out of it
ADMIN = (
    "/sleep", "/wake_up", "/is_sleeping", "/pause", "/resume", "/is_paused", "/reset_prefix_cache",
    "/reset_mm_cache", "/reset_encoder_cache", "/collective_rpc", "/server_info", "/start_profile", "/stop_profile",
    "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/init_weight_transfer_engine", "/update_weights",
    "/scale_elastic_ep", "/is_scaling_elastic_ep", "/abort_requests", "/tokenizer_info", "/docs", "/redoc",
    "/openapi.json", "/get_world_size", "/dev", "/", "",
)  # fmt: skip
DISGUISES = (
    "//v1/chat/completions", "/v1//chat/completions", "/v1/chat/completions/", "/v1/chat/./completions",
    "/v1/chat/%63ompletions", "/%761/chat/completions", "/v1/../v1/chat/completions", "/V1/chat/completions",
    "/v1/Chat/completions", "/v1/chat%2fcompletions", "/v1/chat/completions%3f", "/v1/chat/completions;x",
    "/v1/chat/completions%00", "/v1/%2e%2e/sleep", "/v1/models/../../sleep", "/v1/chat/completions/../../../sleep",
    "/v1/responses/%2e%2e%2f%2e%2e%2fsleep", "/v1/responses/../../sleep/cancel", "//sleep", "/./sleep",
    "/%73leep", "/v1\\chat\\completions", "/v1/chat/completions#/../sleep",
)  # fmt: skip


@on_both_loops
async def test_every_route_of_inference_reaches_a_replica_under_its_own_name():
    async with cluster() as (front, (replica,)):
        client = await front.client()
        for path in ROUTES:
            answer = await client.ask(chat(), target=path + "?a=%20b&c")
            assert answer.status == 200, path
            assert replica.posts[-1].target == path + "?a=%20b&c"
            assert (await client.ask(target=path)).status == 405
            assert (await client.ask(b"", target=path, method="PUT")).status == 405
        assert len(replica.posts) == len(ROUTES)


@on_both_loops
async def test_no_other_path_reaches_a_replica():
    async with cluster() as (front, (replica,)):
        before = {probe.target for probe in replica.probes}
        for path in (*ADMIN, *DISGUISES, *SCALE_OUT):
            for method in ("POST", "GET", "DELETE", "OPTIONS", "PATCH"):
                answer = await front.ask(b"{}", target=path or "*", method=method)
                assert answer.status in {400, 404, 405}, (method, path, answer)
        assert replica.posts == []
        assert {probe.target for probe in replica.probes} == before


@on_both_loops
async def test_no_other_path_reaches_a_replica_by_an_absolute_target():
    async with cluster() as (front, (replica,)):
        for path in (*ADMIN, *DISGUISES, *SCALE_OUT):
            for authority in ("replica", "user:1@x"):
                await front.ask(b"{}", target=f"http://{authority}{path}", method="POST")
        assert {post.target for post in replica.posts} <= ROUTES.keys()  # a target may be written oddly


@async_test
async def test_routes_of_the_balancer_are_not_the_replicas():
    async with cluster() as (front, (replica,)):
        for path in ("/v1/models", "/version", "/metrics", "/load"):
            assert (await front.ask(target=path)).status == 200
            assert (await front.ask(b"", target=path)).status == 405
        assert replica.posts == []


@async_test
async def test_scale_out_routes_are_there_for_whoever_asks_for_them():
    async with cluster(scale_out_routes=True) as (front, (replica,)):
        for path in SCALE_OUT:
            assert (await front.ask(chat(), target=path)).status == 200
        assert {post.target for post in replica.posts} == SCALE_OUT


@on_both_loops
async def test_an_absolute_target_names_a_path_and_nothing_else():
    async with cluster() as (front, (replica,)):
        answer = await front.ask(chat(), target=f"http://other.test:1{CHAT}?a=b")
        assert answer.status == 200
        assert (replica.posts[0].target, replica.posts[0].all("host")) == (
            f"{CHAT}?a=b",
            [f"127.0.0.1:{replica.port}"],
        )


@pytest.mark.parametrize(
    "target", ["*", "replica:8000", "/\xff\xfe", "/v1/models/\xff", "/v1/responses/\xff"]
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "CONNECT", "POST"])
@async_test
async def test_odd_targets_are_the_clients_fault(method, target):
    async with cluster() as (front, (replica,)):
        answer = await front.ask(target=target, method=method)
        assert answer.status in {400, 404}, answer
        assert replica.posts == []


@on_both_loops
async def test_a_path_prefix_of_a_replica_stands_before_every_path():
    async with cluster() as (front, (replica,)):
        front.balancer.replicas.pools[front.fleet[0]]._path = b"/behind"
        await front.ask(chat())
        assert replica.posts[0].target == "/behind" + CHAT


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("GET", "/v1/responses/resp_1", "resp_1"),
        ("DELETE", "/v1/responses/resp_1", "resp_1"),
        ("POST", "/v1/responses/resp_1/cancel", "resp_1"),
        ("POST", "/v1/responses/resp_1", None),
        ("GET", "/v1/responses/resp_1/cancel", None),
        ("GET", "/v1/responses/", None),
        ("GET", "/v1/responses", None),
        ("POST", "/v1/responses//cancel", None),
        ("POST", "/v1/responses/a/b/cancel", None),
        ("PUT", "/v1/responses/resp_1", None),
    ],
)
def test_which_requests_name_a_stored_response(method, path, found):
    assert stored_response_id(method, path) == found


def test_each_route_says_where_its_prompt_stands_and_whose_errors_it_speaks():
    for path, route in inference_routes(scale_out=True).items():
        assert route.path == path
        assert path.startswith("/")
        assert (
            (route.dialect is Dialect.ANTHROPIC)
            == path.startswith("/v1/messages")
            == (dialect_of(path) is Dialect.ANTHROPIC)
        )
    assert {path for path, route in ROUTES.items() if route.stores_response} == {"/v1/responses"}
    assert {route.kind for route in ROUTES.values()} == set(RouteKind)
