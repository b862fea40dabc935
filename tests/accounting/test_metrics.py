from time import monotonic

import pytest
from prometheus_client.parser import text_string_to_metric_families

from balancer.accounting.metrics import Metrics
from balancer.accounting.record import Record, Tiered
from balancer.accounting.request_metrics import FAILED, FAILURES
from balancer.core.admission import Line
from balancer.core.fleet.fleet import Fleet
from balancer.core.scheduling import RoundRobin
from balancer.forwarding.ended import Ended
from balancer.vllm_api.answers import Usage
from tests.core.states import replica, sample
from tests.fakes.balancer import cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, on_both_loops
from tests.fakes.replica import silent


def read(page):
    """(name, labels) -> value of every sample."""
    families = list(text_string_to_metric_families(page.decode() if isinstance(page, bytes) else page))
    assert len({family.name for family in families}) == len(families)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(page, name, **labels):
    return read(page).get((name, frozenset(labels.items())))


def total(page, name, **labels):
    """Over all series that have these labels."""
    return sum(
        each for (found, has), each in read(page).items() if found == name and set(labels.items()) <= has
    )


@pytest.fixture
def fleet():
    return Fleet([replica("r0"), replica("r1", models=("n",))])


@pytest.fixture
def metrics(fleet):
    return Metrics(fleet, "cache_aware", Line(fleet, RoundRobin()))


def record(**fields):
    return Record("/v1/chat/completions", 10.0, **{"model": "m", "status": 200, "ended_at": 12.0, **fields})


def test_a_request_is_counted_once(metrics):
    metrics.add(record(replica="r0", token_at=10.3, usage=Usage(7, 2, 5), matched_tokens=4))
    page, content_type = metrics.render("")
    assert content_type.startswith("text/plain")
    labels = {"route": "/v1/chat/completions", "model_name": "m", "code": "200", "ended_by": "answer"}
    assert value(page, "balancer_requests_total", **labels) == 1
    for kind, count in {"prompt": 7, "output": 2, "cached": 5, "matched": 4}.items():
        assert value(page, "balancer_tokens_total", model_name="m", tenant="", kind=kind) == count
    where = {"model_name": "m", "tier": "", "replica": "r0"}
    assert value(page, "balancer_time_to_first_token_seconds_count", **where) == 1
    assert value(page, "balancer_time_to_first_token_seconds_bucket", **where, le="0.25") == 0
    assert value(page, "balancer_time_to_first_token_seconds_bucket", **where, le="0.5") == 1
    assert value(page, "balancer_request_duration_seconds_sum", **where) == 2


def test_what_was_expected_of_a_replica_is_compared_with_what_came(metrics):
    expected = {"replica": "r0", "sent_at": 10.0, "predicted_ttft_s": 0.5}
    metrics.add(record(**expected, token_at=10.7, usage=Usage(100, 2, 30), matched_tokens=64))
    metrics.add(record(**expected, token_at=10.4, usage=Usage(100, 2, 0), matched_tokens=64))
    metrics.add(
        record(**expected, usage=Usage(100, 2), matched_tokens=64)
    )  # no stream, and no cached tokens told
    metrics.add(record(replica="r0", token_at=10.7))
    metrics.add(record(**expected, token_at=19.0, status=499))
    page, _ = metrics.render("")
    error = "balancer_ttft_prediction_error_seconds"
    assert value(page, f"{error}_count", replica="r0") == 2
    assert value(page, f"{error}_sum", replica="r0") == pytest.approx(0.2 + 0.1)
    assert value(page, "balancer_predicted_hit_tokens_total", replica="r0") == 128
    assert value(page, "balancer_actual_hit_tokens_total", replica="r0") == 30
    assert value(page, f"{error}_count", replica="r1") is None


def test_only_those_who_were_held_have_a_time_of_it(metrics):
    metrics.add(record(replica="r0"))
    metrics.add(record(replica="r0", waited_s=0.3))
    metrics.add(record(replica="r0", waited_s=2.0, status=499))
    metrics.add(record(waited_s=0.0, status=503, ended_by="refusal"))
    page, _ = metrics.render("")
    where = {"model_name": "m", "tier": "", "replica": "r0"}
    assert value(page, "balancer_held_seconds_count", **where) == 2
    assert value(page, "balancer_held_seconds_sum", **where) == pytest.approx(2.3)


def test_clients_cannot_make_up_labels(metrics):
    for number in range(100):
        metrics.add(record(model=f"made-up-{number}", status=404))
    metrics.add(record(model="n"))
    metrics.add(record(model=None))
    page, _ = metrics.render("")
    names = {dict(labels)["model_name"] for name, labels in read(page) if name == "balancer_requests_total"}
    assert names == {"other", "n", ""}


def test_what_is_not_known_has_no_sample(metrics, fleet):
    page, _ = metrics.render("")
    assert value(page, "balancer_engine_load", replica="r0", signal="running") is None
    next(iter(fleet)).sampled(sample(3.0, running=2.0), 0)
    page, _ = metrics.render("")
    assert value(page, "balancer_engine_load", replica="r0", signal="running") == 2
    assert value(page, "balancer_engine_load", replica="r0", signal="waiting") is None
    assert value(page, "balancer_replica_healthy", replica="r0") == 1


def test_the_scraper_chooses_the_format(metrics):
    page, content_type = metrics.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert page.endswith(b"# EOF\n")


@on_both_loops
async def test_the_page_tells_what_happened():
    async with cluster() as (front, (fake,)):
        await front.ask(stream())
        await front.ask({**chat(), "model": "nope"})
        await front.ask(chat())
        page = (await front.ask(target="/metrics")).body
        route = "/v1/chat/completions"
        for model, code, ended_by, count in (("m", "200", "answer", 2), ("other", "404", "refusal", 1)):
            named = route if model == "m" else "other"
            labels = {"route": named, "model_name": model, "code": code, "ended_by": ended_by}
            assert value(page, "balancer_requests_total", **labels) == count
        where = {"model_name": "m", "tier": "", "replica": "r0"}
        assert value(page, "balancer_time_to_first_token_seconds_count", **where) == 1
        assert value(page, "balancer_tokens_total", model_name="m", tenant="", kind="prompt") == 14
        assert value(page, "balancer_requests_in_flight", replica="r0") == 0


@async_test
async def test_a_port_of_its_own_has_the_page_and_no_key():
    async with cluster(prometheus_port=0, api_keys=["k"]) as (front, (fake,)):
        scraper = await front.client(listener=1)
        answer = await scraper.ask(target="/metrics", headers={"Accept": "text/plain"})
        assert answer.status == 200
        assert value(answer.body, "balancer_replica_healthy", replica="r0") == 1
        for target in ("/", "/health", "/v1/models", "/v1/chat/completions"):
            assert (await scraper.ask(target=target)).status == 404
        fake.on_post = silent
        assert (await front.ask(target="/metrics")).status == 401


@async_test
async def test_every_name_is_the_balancers_and_says_its_unit():
    async with cluster() as (front, _):
        await front.ask(chat())
        page = (await front.ask(target="/metrics")).body.decode()
        own = [
            f for f in text_string_to_metric_families(page) if not f.name.startswith(("process_", "python_"))
        ]
        assert own
        for family in own:
            assert family.name.startswith("balancer_")
            assert family.documentation.endswith(".")


def test_a_reading_has_an_age_and_none_has_none(fleet, metrics):
    fleet["r0"].sampled(sample(monotonic() - 3.0), 0)
    page, _ = metrics.render("")
    assert 3.0 <= value(page, "balancer_engine_sample_age_seconds", replica="r0") < 60.0
    assert value(page, "balancer_engine_sample_age_seconds", replica="r1") is None


def test_trouble_begins_at_zero(fleet, metrics):
    """Else Prometheus sees no increase when it happens for the first time."""
    metrics.add(record(replica="r0"))
    metrics.attempted("r0", "cached", "answered")
    page, _ = metrics.render("")
    assert value(page, "balancer_replica_faults_total", replica="r1", reason="stalled") == 0
    assert value(page, "balancer_observer_failures_total", replica="r1", observer="health") == 0
    assert value(page, "balancer_refused_total", model_name="n", reason="queue_full") == 0
    assert value(page, "balancer_retries_total", model_name="m") == 0
    assert value(page, "balancer_broken_streams_total", outcome="stranded") == 0
    route = "/v1/chat/completions"
    for status, ended_by in FAILURES:
        labels = {"route": route, "model_name": "m", "code": str(status), "ended_by": ended_by}
        assert value(page, "balancer_requests_total", **labels) == 0
    for how in FAILED:
        assert value(page, "balancer_attempts_total", replica="r0", reason="cached", outcome=Ended(how)) == 0


def test_what_answers_cost_is_whose_it_is(metrics):
    metrics.name_tenants(["alice"])
    tiered = Tiered("auto", "small", "n", "score")
    for tenant in ("alice", "alice", "mallory"):
        paid = {"usd": 0.25, "usd_tier": "small"}
        metrics.add(record(replica="r1", tenant=tenant, tiered=tiered, token_at=10.5, **paid))
    metrics.add(record(replica="r1", tenant="alice", tiered=tiered))
    page, _ = metrics.render("")
    where = {"model_name": "n", "tier": "small"}
    assert value(page, "balancer_cost_usd_total", **where, tenant="alice") == 0.5
    assert value(page, "balancer_cost_usd_total", **where, tenant="other") == 0.25
    assert value(page, "balancer_time_to_first_token_seconds_count", **where, replica="r1") == 3
