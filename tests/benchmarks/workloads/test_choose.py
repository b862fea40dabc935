"""From what a user asks for to a script, by name and from recordings."""

import json
from statistics import mean

import pytest

from benchmarks.workloads import LADDER, WORKLOADS
from benchmarks.workloads.choose import Wanted, script_for
from benchmarks.workloads.script import Script
from benchmarks.workloads.texts import Texts, by_bytes

WORDS = Texts(1.0)


def small(name: str = "chat", **more) -> Wanted:
    return Wanted(name, **{"rate": 2.0, "replicas": 1, "duration_s": 30.0, "scale": 16, **more})


def arrivals(script: Script) -> list[float]:
    return [conversation.arrival_s for conversation in script.conversations]


@pytest.mark.parametrize("name", [name for name in WORKLOADS if name != LADDER.name])
def test_every_workload_is_made_for_any_rate_and_duration_and_decided_by_its_seed(name):
    script = script_for(small(name), WORDS)
    assert script.digest() == script_for(small(name), WORDS).digest()
    assert script.digest() != script_for(small(name, seed=2), WORDS).digest()
    assert 0 < script.start_s < script.end_s
    measured = [time for time in arrivals(script) if time >= script.end_s - 30]
    assert len(measured) >= 10
    assert max(measured) < script.end_s


def test_whatever_clients_would_meet_is_in_the_digest():
    found = {
        script_for(small(**more), WORDS).digest()
        for more in ({}, {"rate": 2.5}, {"scale": 8}, {"warm_up_s": 1.0}, {"ignore_eos": False})
    }
    found.add(script_for(small(), by_bytes()).digest())
    assert len(found) == 6


def test_a_load_is_a_share_of_what_the_replicas_can_bear():
    wanted = Wanted("all_unique", load=0.5, replicas=2, duration_s=100, scale=64)
    script = script_for(wanted, WORDS)
    assert script.facts["rate"] == pytest.approx(WORKLOADS["all_unique"].capacity)
    assert len(script.conversations) == pytest.approx(100 * WORKLOADS["all_unique"].capacity, rel=0.15)
    assert script.facts["tokens"] == "tokenizer"


def test_the_ladder_can_be_shortened_and_thinned():
    fill, *stages = script_for(
        Wanted("ladder", load=0.5, replicas=1, duration_s=47, scale=64), WORDS
    ).stages()
    assert fill.name == "fill"
    assert sum(stage.end_s for stage in stages) == pytest.approx(47)
    last = stages[-1]
    assert len(last.conversations) == pytest.approx(60 * 0.5 / 8 * last.end_s, abs=10)


def test_the_warm_up_is_a_share_of_the_run_unless_told():
    assert script_for(small(), WORDS).start_s == pytest.approx(30 * 80 / 200)
    assert script_for(small(warm_up_s=3.0), WORDS).start_s == 3


@pytest.fixture
def log(tmp_path):
    def write(lines, name="log.jsonl") -> str:
        path = tmp_path / name
        path.write_text("\n".join(map(json.dumps, lines)))
        return str(path)

    return write


def chats(count: int, **more) -> list[dict]:
    return [{"body": {"messages": [{"role": "user", "content": f"{n}"}]}, **more} for n in range(count)]


def timed(count: int) -> list[dict]:
    return [{**line, "ts": 1_000.0 + 2 * n} for n, line in enumerate(chats(count))]


def test_a_log_is_replayed_at_its_own_times_faster_or_at_a_rate(log):
    path = log(timed(5))
    assert arrivals(script_for(Wanted(path), WORDS)) == [0, 2, 4, 6, 8]
    assert script_for(Wanted(path), WORDS).end_s == 10
    assert arrivals(script_for(Wanted(path, speed=4), WORDS)) == [0, 0.5, 1, 1.5, 2]
    assert arrivals(script_for(Wanted(path, rate=5), WORDS)) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert arrivals(script_for(Wanted(path, limit=2), WORDS)) == [0, 2]
    assert arrivals(script_for(Wanted(path, duration_s=5), WORDS)) == [0, 2, 4]
    script = script_for(Wanted(path, warm_up_s=4, duration_s=100), WORDS)
    assert (script.start_s, script.end_s, script.facts["source"]) == (4, 10, "OpenAI requests")
    assert not script.conversations[0].remembers


def test_a_log_without_times_arrives_as_a_poisson_process(log):
    path = log(chats(2_000))
    script = script_for(Wanted(path, rate=10), WORDS)
    times = arrivals(script)
    assert len(times) == 2_000
    assert times == sorted(times)
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert mean(gaps) == pytest.approx(0.1, rel=0.1)
    assert mean(gap > 0.1 for gap in gaps) == pytest.approx(0.37, abs=0.04)
    assert script.end_s > times[-1]
    assert script.digest() != script_for(Wanted(path, rate=10, seed=2), WORDS).digest()
    few = log(chats(20), "few.jsonl")
    for seed in range(20):
        assert len(script_for(Wanted(few, rate=10, seed=seed), WORDS).conversations) == 20


def test_one_request_is_a_recording_too(log):
    assert arrivals(script_for(Wanted(log(timed(1))), WORDS)) == [0]
    assert len(script_for(Wanted(log(chats(1)), rate=1), WORDS).conversations) == 1


def test_a_trace_of_lengths_gets_words_and_shares_what_its_blocks_say(log):
    rows = [
        {
            "timestamp": 5_000 + 1_000 * n,
            "input_length": 1_200,
            "output_length": 8,
            "hash_ids": [1, 2, 90 + n],
        }
        for n in range(4)
    ]
    script = script_for(Wanted(log(rows), scale=2), WORDS)
    assert arrivals(script) == [0, 1, 2, 3]
    prompts = [each.asks[0].body["messages"][0]["content"].split() for each in script.conversations]
    assert [len(prompt) for prompt in prompts] == [600] * 4
    assert prompts[0][:512] == prompts[1][:512]
    assert prompts[0][512:520] != prompts[1][512:520]
    assert script.facts["source"] == "Mooncake"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"rate": None}, "--rate, --load: expected one"),
        ({"load": 0.5}, "--rate, --load: expected one"),
        ({"rate": 0.0}, "--rate: expected more than 0, got 0.0"),
        ({"rate": float("nan")}, "--rate: expected more than 0, got nan"),
        ({"duration_s": -1.0}, "--duration: expected more than 0, got -1"),
        ({"speed": 2.0}, "--speed, --limit: expected only with a recording"),
        ({"warm_up_s": 30.0}, "--warm-up: expected less than the 30 s of the run, got 30"),
        ({"warm_up_s": -1.0}, "--warm-up: expected 0 or more"),
        ({"scale": 0}, "--scale: expected 1 or more, got 0"),
        ({"replicas": 0}, "--replicas: expected 1 or more, got 0"),
        ({"workload": "chats"}, "--workload: expected a file or one of fresh_questions, "),
        ({"workload": "ladder"}, "--rate: the ladder has rates of its own"),
        ({"workload": "mooncake", "duration_s": 8_000.0}, "--duration: the trace has 12031 requests, over after"),
        ({"rate": 1e-9}, "--rate, --duration: expected at least one arrival"),
    ],
)  # fmt: skip
def test_a_wish_that_cannot_be_met_is_told_by_its_option(more, told):
    with pytest.raises(ValueError, match="--") as error:
        script_for(small(**{"name": more.pop("workload", "chat"), **more}), WORDS)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("lines", "more", "told"),
    [
        (chats(3), {}, "--rate: expected one, for the recording has no times"),
        (timed(3), {"load": 0.5}, "--load: expected only with a workload by name"),
        (timed(3), {"rate": 1, "speed": 2}, "--rate, --speed: expected at most one of them"),
        (timed(3), {"scale": 4}, "--scale: expected 1: the requests of this recording are sent as they are"),
        (timed(3), {"warm_up_s": 9}, "--warm-up: expected less than the 6 s of the run, got 9"),
    ],
)
def test_a_wish_that_a_recording_cannot_meet_is_told_by_its_option(log, lines, more, told):
    with pytest.raises(ValueError, match="--") as error:
        script_for(Wanted(log(lines), **more), WORDS)
    assert told in str(error.value)
