"""POST /v1/feedback through the front door: who may say what of which decision, and what it costs everybody else."""

import sqlite3

import pytest

from balancer.accounting.outcome_store import Reading
from tests.accounting.outcomes import SECRET_WORDS, tiered_record
from tests.fakes.balancer import cluster
from tests.fakes.client import chat
from tests.fakes.loops import async_test, on_both_loops, until

PATH = "/v1/feedback"
UP = {"decision_id": "d0", "rating": "up"}


def logged(tmp_path, **more):
    return cluster(outcome_log=tmp_path / "outcomes.db", **more)


def decided(front, *ids, **more):
    for each in ids:
        front.balancer.outcomes.add(tiered_record(each, **{"tenant": "", **more}))


async def feedback(front, body, **request):
    return await front.ask(body, target=PATH, **request)


def rows(tmp_path, *columns):
    with Reading(tmp_path / "outcomes.db") as reading:
        return list(reading.select(columns))


@on_both_loops
async def test_a_decision_is_rated_and_the_last_word_holds(tmp_path):
    async with logged(tmp_path) as (front, _):
        decided(front, "d0", "d1")
        answer = await feedback(front, {**UP, "comment": "well done"})
        assert (answer.status, answer.json()) == (
            200,
            {
                "object": "feedback",
                "decision_id": "d0",
                "rating": 1.0,
                "winner": None,
                "replaced": False,
                "comment_kept": False,
            },
        )
        again = await feedback(front, {"winner": "strong"}, headers={"X-Balancer-Decision-Id": "d0"})
        assert (again.status, again.json()["replaced"], again.json()["winner"]) == (200, True, "strong")
        assert front.balancer.outcomes.moods.of("", b"c" * 16) == 0.0
        page = (await front.ask(target="/metrics")).body.decode()
        assert 'balancer_feedback_total{kind="rating",result="kept"} 1.0' in page
        assert 'balancer_outcomes_total{result="written"} 2.0' in page
        await until(lambda: front.balancer.outcomes.rows == 2)
    assert rows(tmp_path, "id", "rating", "winner") == [("d0", None, "strong"), ("d1", None, None)]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"decision_id": "nope", "rating": 1}, 404, "decision_id"),
        ({"decision_id": "d0"}, 400, "rating"),
        ({"decision_id": "d0", "rating": 7}, 400, "rating"),
        ({"rating": 1}, 400, "decision_id"),
        ({"decision_id": "d0", "score": 1}, 400, "score"),
        (b"{", 400, None),
        (b" " * 20_000, 413, None),
    ],
)
@async_test
async def test_what_is_wrong_is_told_in_the_usual_shape(tmp_path, body, status, param):
    async with logged(tmp_path) as (front, _):
        decided(front, "d0")
        answer = await feedback(front, body)
        error = answer.json()["error"]
        assert (answer.status, error["param"]) == (status, param)
        assert error["message"]


@async_test
async def test_only_posts(tmp_path):
    async with logged(tmp_path) as (front, _):
        assert (await front.ask(target=PATH)).status == 405


@async_test
async def test_without_a_log_it_says_so():
    async with cluster() as (front, _):
        answer = await feedback(front, UP)
        assert answer.status == 501
        assert "outcome_log" in answer.json()["error"]["message"]


@async_test
async def test_a_tenant_rates_its_own_decisions_only(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("acme: key-a\nother: key-b\n")
    async with logged(tmp_path, api_key_file=keys) as (front, _):
        decided(front, "d0", tenant="acme")
        for key, status in (("key-b", 404), ("key-a", 200), ("wrong", 401)):
            answer = await feedback(front, UP, headers={"Authorization": f"Bearer {key}"})
            assert answer.status == status
        assert (await feedback(front, UP)).status == 401


@async_test
async def test_the_tenant_may_stand_in_a_header(tmp_path):
    async with logged(tmp_path, tenant_header="x-team") as (front, _):
        decided(front, "d0", tenant="red")
        assert (await feedback(front, UP, headers={"X-Team": "blue"})).status == 404
        assert (await feedback(front, UP, headers={"X-Team": "red"})).status == 200


@async_test
async def test_whoever_holds_the_file_holds_up_no_request(tmp_path):
    async with logged(tmp_path) as (front, _):
        log = front.balancer.outcomes
        holder = sqlite3.connect(tmp_path / "outcomes.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        decided(front, "first")
        await until(log._queue.empty)
        for number in range(5000):
            decided(front, f"d{number}")
        assert log.dropped > 0
        refused = await feedback(front, UP)
        assert (refused.status, refused.get("retry-after")) == (503, "5")
        assert (await front.ask(chat())).status == 200
        page = (await front.ask(target="/metrics")).body.decode()
        assert f'balancer_outcomes_total{{result="dropped"}} {float(log.dropped)}' in page
        holder.execute("ROLLBACK")
        holder.close()


@async_test
async def test_a_reload_changes_what_is_kept(tmp_path):
    log_file = tmp_path / "outcomes.db"
    async with logged(tmp_path) as (front, (replica,)):
        given = {"url": replica.url, "name": "r0"}
        decided(front, "d0")
        await feedback(front, UP)
        await front.reload(given, outcome_log=log_file, outcome_log_prompts=True)
        decided(front, "d1")
        answer = await feedback(front, {"decision_id": "d1", "rating": 0, "comment": "why not"})
        assert answer.json()["comment_kept"] is True
        await front.reload(given, outcome_log=log_file)
        decided(front, "d2")
    assert rows(tmp_path, "prompt") == [(None,), (SECRET_WORDS,), (None,)]


@async_test
async def test_a_request_without_tiers_is_not_logged(tmp_path):
    async with logged(tmp_path) as (front, _):
        assert (await front.ask(chat())).status == 200
        decided(front, "d0")
        await feedback(front, UP)
    assert rows(tmp_path, "id") == [("d0",)]
