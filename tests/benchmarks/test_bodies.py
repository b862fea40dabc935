import itertools
import json

import pytest

from benchmarks import wire
from benchmarks.overhead.bodies import BODIES, requests


def bodies(name, count, **options):
    return [
        json.loads(request.wire.partition(b"\r\n\r\n")[2])
        for request in itertools.islice(requests(BODIES[name], 8000, **options), count)
    ]


@pytest.mark.parametrize(
    ("name", "low", "high"), [("small", 100, 250), ("8k", 7400, 9200), ("64k", 63_000, 68_000)]
)
def test_a_body_weighs_what_its_name_says(name, low, high):
    for request in itertools.islice(requests(BODIES[name], 8000), 70):
        head, _, body = request.wire.partition(b"\r\n\r\n")
        assert low <= len(body) <= high
        assert f"Content-Length: {len(body)}".encode() in head


@pytest.mark.parametrize("name", list(BODIES))
def test_the_same_seed_gives_the_same_bytes_and_no_two_the_same_last_turn(name):
    first, again = bodies(name, 100), bodies(name, 100)
    last_turns = {body["messages"][-1]["content"] for body in first}

    assert first == again
    assert len(last_turns) == 100
    assert bodies(name, 1, start=60)[0] == first[60]
    assert bodies(name, 1, start=5_000_000)[0] != bodies(name, 1, start=5_000_000 + 997 * 64 * 100)[0]


def test_a_conversation_comes_back_with_its_history():
    asked = bodies("8k", 65)

    assert asked[0]["messages"][:-1] == asked[64]["messages"][:-1]
    assert asked[0]["messages"][:-1] != asked[1]["messages"][:-1]
    assert asked[0]["messages"][0] == asked[1]["messages"][0]
    assert [turn["role"] for turn in asked[0]["messages"][1:4]] == ["user", "assistant", "user"]


def test_a_stream_asks_for_its_events():
    (body,) = bodies("stream", 1)

    assert (body["stream"], body["max_tokens"], body["model"]) == (True, 128, wire.MODEL)
