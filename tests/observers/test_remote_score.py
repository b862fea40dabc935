"""Scores that others compute: of an embedded replica, and of endpoints that misbehave."""

import asyncio
import math

import aiohttp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.tiering.learned import Learned
from balancer.core.tiering.score.features import BUCKETS
from balancer.core.tiering.types import Score, Text
from balancer.observers.remote_score import (
    FAILURES,
    Classify,
    Embedded,
    Encoded,
    Endpoint,
    Judge,
    Remote,
    rating,
)
from tests.embedded.replica_client import SLOW, TINY, with_replica
from tests.fakes.loops import async_test
from tests.fakes.replica import Replica, answers, silent

LIMITS = {"timeout_s": 5.0, "max_in_flight": 4}
ASKED = Text("how hard is this question", 25)


def near(dimensions):
    """A router that sends what is near the first of two random vectors to the strong model."""
    rng = np.random.default_rng(0)
    return Learned.read(
        "near",
        ["weak", "strong"],
        {
            "known": rng.standard_normal((2, dimensions)),
            "quality": np.array([[0.0, 1.0], [1.0, 1.0]]),
            "count": np.array(1),
            "width": np.array(0.1),
            "gains": np.array([0.0, 1.0]),
            "seen": np.zeros(BUCKETS // 8, np.uint8),
            "spreads": np.array([[0.0], [0.1]]),
        },
    )


def of_replica(check, **options):
    async def run(client):
        async with aiohttp.ClientSession() as session:
            await check(session, str(client.session._base_url))

    with_replica(run, **{**TINY, **options})


def test_an_embedded_replica_classifies():
    async def check(session, url):
        remote = Classify(Endpoint(session, url, "m"), **LIMITS)
        first = await remote.score(ASKED)
        assert first.known
        assert 0 <= first.value <= 1
        assert await remote.score(ASKED) == first
        other = await Classify(Endpoint(session, url, "m"), 0, **LIMITS).score(ASKED)
        assert other.value == pytest.approx(1 - first.value, abs=1e-6)
        named = await Classify(Endpoint(session, url, "m"), "LABEL_1", **LIMITS).score(ASKED)
        assert named.value == pytest.approx(first.value, abs=1e-6)

    of_replica(check)


def test_an_embedded_replica_gives_vectors():
    async def check(session, url):
        first = await Embedded(Endpoint(session, url, "m"), near(16), **LIMITS).score(ASKED)
        assert first.known
        assert first.value in {0.25, 0.75}
        wrong = await Embedded(Endpoint(session, url, "m"), near(7), **LIMITS).score(ASKED)
        assert (wrong.known, wrong.why) == (
            False,
            "its vectors have 16 dimensions, which its router was not trained on",
        )

    of_replica(check)


def test_an_embedded_replica_that_judges_says_no_number():
    """It writes what it likes, which is no rating, and that is said."""

    async def check(session, url):
        found = await Judge(Endpoint(session, url, "m"), **LIMITS).score(ASKED)
        assert (found.known, found.why) == (False, "its judge gave no rating")

    of_replica(check)


def test_a_slow_one_is_not_waited_for():
    async def check(session, url):
        found = await Judge(Endpoint(session, url, "m"), timeout_s=0.01, max_in_flight=1).score(ASKED)
        assert (found.known, found.why) == (False, "no score within 0.01 s")

    of_replica(check, **SLOW)


def chat(content, tokens=None):
    logprobs = None if tokens is None else {
        "content": [{"top_logprobs": [{"token": t, "logprob": math.log(p)} for t, p in tokens.items()]}]
    }  # fmt: skip
    return {"choices": [{"message": {"content": content}, "logprobs": logprobs}]}


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (chat("5"), 1.0),
        (chat(" 1"), 0.0),
        (chat("3", {"3": 0.5, "5": 0.25, "Sure": 0.25}), (0.5 * 0.5 + 0.25 * 1.0) / 0.75),
        (chat("Sure", {"2": 0.1, "Sure": 0.9}), 0.25),
        (chat("4", {"Sure": 1.0}), 0.75),
    ],
)
def test_a_rating_is_what_is_expected_of_the_digits(answer, value):
    assert rating(answer) == pytest.approx(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "logprobs", "top_logprobs", "token", "logprob"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(json_values)
def test_any_answer_is_a_rating_or_unusable(answer):
    class Told(Remote):
        async def _ask(self, text):
            return self._placed(rating(answer))

    found = asyncio.run(Told(**LIMITS).score(ASKED))
    assert 0 <= found.value <= 1
    assert found.known or found.why


@async_test
async def test_the_judge_asks_with_the_key_and_within_the_prompt():
    replica = await Replica().start()
    replica.on_post = answers(200, chat("2"))
    async with aiohttp.ClientSession() as session:
        judge = Judge(Endpoint(session, replica.url, "small", "Bearer key"), **LIMITS)
        assert (await judge.score(ASKED)).value == 0.25
    (request,) = replica.posts
    assert request.all("authorization") == ["Bearer key"]
    body = request.json()
    assert (body["model"], body["max_tokens"], body["logprobs"]) == ("small", 1, True)
    assert ASKED.last in body["messages"][0]["content"]
    await replica.stop()


@async_test
async def test_who_fails_again_and_again_is_left_alone():
    replica = await Replica().start()
    replica.on_post = answers(500, {"error": "no"})
    async with aiohttp.ClientSession() as session:
        remote = Classify(Endpoint(session, replica.url, "m"), **LIMITS)
        whys = [(await remote.score(ASKED)).why for _ in range(FAILURES + 2)]
    assert whys == ["its classifier answered 500"] * FAILURES + ["its classifier failed lately"] * 2
    assert len(replica.posts) == FAILURES
    await replica.stop()


@async_test
async def test_no_more_are_asked_at_once_than_may_be():
    replica = await Replica().start()
    replica.on_post = silent
    async with aiohttp.ClientSession() as session:
        remote = Classify(Endpoint(session, replica.url, "m"), timeout_s=0.2, max_in_flight=1)
        found = await asyncio.gather(remote.score(ASKED), remote.score(ASKED))
        assert sorted(score.why for score in found) == ["its classifier is busy", "no score within 0.2 s"]
        replica.on_post = answers(200, {"data": [{"probs": [0.25, 0.75], "label": "x"}]})
        assert (await remote.score(ASKED)).value == 0.75
    await replica.stop()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({}, "its classifier answered no probabilities"),
        ({"data": [{"probs": []}]}, "its classifier answered no probabilities"),
        ({"data": [{"probs": ["a"]}]}, "its classifier answered no probabilities"),
        (
            {"data": [{"probs": [0.2, 0.3, 0.5], "label": "b"}]},
            "its classifier does not tell how likely hard is",
        ),
    ],
    ids=range(4),
)
@async_test
async def test_answers_of_no_use(answer, why):
    replica = await Replica().start()
    replica.on_post = answers(200, answer)
    async with aiohttp.ClientSession() as session:
        found = await Classify(Endpoint(session, replica.url, "m"), "hard", **LIMITS).score(ASKED)
    assert not found.known
    assert found.why.startswith(why)
    await replica.stop()


@async_test
async def test_nobody_there():
    replica = await Replica().start()
    url = replica.url
    await replica.stop()
    async with aiohttp.ClientSession() as session:
        found = await Classify(Endpoint(session, url, "m"), **LIMITS).score(ASKED)
    assert found.why.startswith("its classifier can't be reached")


class Fixed(Remote):
    def __init__(self, raw, **more):
        super().__init__(**LIMITS, **more)
        self._raw = raw

    async def _ask(self, text):
        return self._placed(self._raw)


@pytest.mark.parametrize(("raw", "value"), [(-1.0, 0.0), (0.2, 0.2), (9.0, 1.0)])
def test_a_value_is_in_bounds(raw, value):
    assert asyncio.run(Fixed(raw).score(ASKED)) == Score(value)


def test_a_value_that_is_no_number():
    assert asyncio.run(Fixed(math.nan).score(ASKED)).why == "its classifier gave no finite score"


def test_nothing_is_asked_for_nothing():
    assert asyncio.run(Fixed(1.0).score(Text(" ", 1))).why == "empty"


class Halves:
    """An encoder of two dimensions."""

    def vectors(self, texts):
        return np.array([[1.0, 0.0]] * len(texts), np.float32)


def test_an_encoder_scores_in_a_thread():
    found = asyncio.run(Encoded(Halves(), near(2), **LIMITS).score(ASKED))
    assert found.known
    assert found.value in {0.25, 0.75}
