"""Every verdict can be reached, and no lie passes for an answer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.chaos.verdict import Outcome, Seen, Truth, judge
from benchmarks.load.connection import End

TRUTH = Truth("one two three four", "length", prompt_tokens=3, completion_tokens=4)
PIECES = ["one", " two", " three", " four"]
ERROR = {"error": {"message": "the replica was lost", "type": "BadGatewayError", "code": 502}}
DONE = b"data: [DONE]\n\n"


def event(body):
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def chunk(text=None, *, id_="c1", finish=None, **delta):
    if text is not None:
        delta["content"] = text
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return event({"id": id_, "model": "m", "created": 1, "choices": choices})


def chunks(pieces=PIECES, finish="length"):
    last = len(pieces) - 1
    return [
        chunk(role="assistant"),
        *(chunk(p, finish=finish if i == last else None) for i, p in enumerate(pieces)),
    ]


def usage(**counts):
    return event({"id": "c1", "model": "m", "created": 1, "choices": [], "usage": counts})


def streamed(*events, end=End.COMPLETE, status=200):
    return judge(TRUTH, Seen(end, status, b"".join(events)), stream=True).outcome


def whole(text, finish="length", **more):
    body = {"choices": [{"message": {"content": text}, "finish_reason": finish}], **more}
    return judge(TRUTH, Seen(End.COMPLETE, 200, json.dumps(body).encode()), stream=False).outcome


def test_a_whole_answer():
    right = {"prompt_tokens": 3, "completion_tokens": 4}
    assert streamed(*chunks(), DONE) is Outcome.ANSWERED
    assert streamed(*chunks(), usage(**right), DONE) is Outcome.ANSWERED
    assert whole(TRUTH.text, usage=right) is Outcome.ANSWERED
    completion = b'{"choices": [{"text": "one two three four", "finish_reason": "length"}]}'
    assert judge(TRUTH, Seen(End.COMPLETE, 200, completion), stream=False).outcome is Outcome.ANSWERED


def test_a_comment_tells_that_it_was_resumed():
    head, *rest = chunks()
    assert streamed(head, b": balancer: resumed on b\n\n", *rest, DONE) is Outcome.RESUMED
    assert streamed(head, b": keep-alive\n\n", *rest, DONE) is Outcome.ANSWERED


@pytest.mark.parametrize("count", range(len(PIECES)))
def test_a_clean_end_before_the_end_of_the_text_is_silent_truncation(count):
    assert streamed(*chunks(PIECES[:count]), DONE) is Outcome.TRUNCATED
    assert streamed(*chunks(PIECES[:count], finish="abort"), DONE) is Outcome.TRUNCATED
    assert whole("".join(PIECES[:count])) is Outcome.TRUNCATED


def test_other_clean_ends_that_are_none():
    assert streamed(*chunks()) is Outcome.TRUNCATED  # no [DONE]
    assert streamed(*chunks(finish="abort"), DONE) is Outcome.TRUNCATED
    assert whole(TRUTH.text, finish="abort") is Outcome.TRUNCATED
    assert streamed() is Outcome.TRUNCATED  # an empty 200
    assert (
        judge(TRUTH, Seen(End.COMPLETE, 200, b'{"choices": [{"te'), stream=False).outcome is Outcome.TRUNCATED
    )


def test_duplicated_and_foreign_text():
    head, one, two, *rest = chunks()
    assert streamed(head, one, two, two, *rest, DONE) is Outcome.WRONG
    assert streamed(head, one, one) is Outcome.WRONG
    assert streamed(head, one, *rest, DONE) is Outcome.WRONG  # a hole at the seam
    assert streamed(head, one, chunk(" zwei"), end=End.LOST) is Outcome.WRONG
    assert streamed(head, one, one, end=End.LEFT) is Outcome.WRONG
    assert streamed(*chunks(), chunk(" five"), DONE) is Outcome.WRONG
    assert whole(TRUTH.text + TRUTH.text) is Outcome.WRONG


def test_a_seam_that_shows():
    head, one, two, three, four = chunks()
    other = chunk(" three", id_="c2")
    assert streamed(head, one, two, other, four, DONE) is Outcome.WRONG
    assert streamed(head, one, two, chunk(role="assistant"), three, four, DONE) is Outcome.WRONG
    assert streamed(head, one, two, three, four, DONE, chunk("")) is Outcome.WRONG
    assert streamed(*chunks(), usage(prompt_tokens=5, completion_tokens=4), DONE) is Outcome.WRONG
    assert streamed(*chunks(), usage(prompt_tokens=3, completion_tokens=2), DONE) is Outcome.WRONG
    assert streamed(head, b"data: {broken\n\n", one) is Outcome.WRONG


def test_failures_that_say_so_and_failures_that_do_not():
    head, one, *_ = chunks()
    error = json.dumps(ERROR).encode()
    assert streamed(head, one, event(ERROR), end=End.LOST) is Outcome.FAILED
    assert streamed(event(ERROR), DONE) is Outcome.FAILED  # vLLM's own overload in a stream
    assert streamed(error, status=503) is Outcome.FAILED
    assert streamed(b"<html>502 Bad Gateway</html>", status=502) is Outcome.UNCLEAR
    assert streamed(error[:9], status=503, end=End.LOST) is Outcome.UNCLEAR
    assert streamed(head, one, end=End.LOST) is Outcome.UNCLEAR
    assert judge(TRUTH, Seen(End.LOST), stream=False).outcome is Outcome.UNCLEAR


def test_patience_and_leaving():
    head, one, *_ = chunks()
    assert judge(TRUTH, Seen(End.SILENT), stream=True).outcome is Outcome.HUNG
    assert streamed(head, one, end=End.SILENT) is Outcome.HUNG
    assert judge(TRUTH, Seen(End.LEFT), stream=False).outcome is Outcome.CANCELLED
    assert streamed(head, one, end=End.LEFT) is Outcome.CANCELLED


@given(st.binary(max_size=200), st.sampled_from(End), st.booleans(), st.sampled_from([None, 200, 500]))
def test_no_bytes_break_the_judge_or_pass_for_an_answer(body, end, stream, status):
    verdict = judge(TRUTH, Seen(end, status, body), stream=stream)
    assert verdict.outcome not in {Outcome.ANSWERED, Outcome.RESUMED}


@given(st.integers(0, 2000))
def test_every_cut_of_a_stream_that_ends_cleanly_is_found(cut):
    body = b"".join([*chunks(), DONE])
    verdict = judge(TRUTH, Seen(End.COMPLETE, 200, body[: cut % len(body)]), stream=True)
    assert verdict.outcome is Outcome.TRUNCATED
