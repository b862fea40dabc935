"""What is content, what is an error, what is an end: in each dialect, however the bytes are cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.answer import StreamedAnswer, WholeAnswer, in_few_words


def sse(*events, end="\n"):
    lines = [event if isinstance(event, str) else f"data: {json.dumps(event)}" for event in events]
    return "".join(line.replace("\n", end) + end * 2 for line in lines).encode()


def delta(**fields):
    return {"choices": [{"index": 0, "delta": fields}]}


USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 8}}
CHAT = (
    delta(role="assistant", content=""),
    ": keep-alive",
    delta(content="Hel"),
    delta(content="lo"),
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": USAGE},
    "data: [DONE]",
)
RESPONSES = (
    'event: response.created\ndata: {"type": "response.created", "response": {"error": null, "usage": null}}',
    {"type": "response.output_text.delta", "delta": "Hel"},
    {"type": "response.output_text.delta", "delta": "lo"},
    {"type": "response.output_text.done", "text": "Hello"},
    {
        "type": "response.completed",
        "response": {
            "usage": {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 8}}
        },
    },
)
MESSAGES = (
    {"type": "message_start", "message": {"usage": {"input_tokens": 1, "output_tokens": 0}}},
    {"type": "ping"},
    {"type": "content_block_start", "content_block": {"type": "text", "text": ""}},
    'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hel"}}',
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "lo"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2, "cache_read_input_tokens": 8}},
    {"type": "message_stop"},
)  # fmt: skip


def read(data, cuts=()):
    answer = StreamedAnswer()
    bounds = [0, *sorted(cuts), len(data)]
    tokens = sum(
        answer.feed(data[start:end]) for start, end in zip(bounds, bounds[1:], strict=False) if start < end
    )
    answer.close()
    return answer, tokens


@pytest.mark.parametrize("events", [CHAT, RESPONSES, MESSAGES], ids=["chat", "responses", "messages"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@given(data=st.data())
def test_a_stream_reads_the_same_however_it_is_cut(events, end, data):
    body = sse(*events, end=end)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))

    answer, tokens = read(body, cuts)

    assert (tokens, answer.text, answer.ended, answer.error) == (2, "Hello", True, None)
    assert answer.usage == (9, 2, 8)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_no_bytes_break_the_reader(body, cuts):
    read(b"data: " + body + b"\n\n", [cut for cut in cuts if cut <= len(body)])
    answer = WholeAnswer(is_json=True)
    answer.feed(body)
    answer.close()


@pytest.mark.parametrize(
    ("event", "content"),
    [
        (delta(role="assistant"), False),
        (delta(role="assistant", content=""), False),
        (delta(content=None), False),
        (delta(content=" "), True),
        (delta(reasoning="so"), True),
        (delta(reasoning_content="so"), True),
        (delta(tool_calls=[{"index": 0}]), True),
        (delta(tool_calls=[]), False),
        ({"choices": [{"index": 1, "text": "x"}]}, True),
        ({"choices": [{"index": 0, "text": ""}]}, False),
        ({"choices": []}, False),
        ({"choices": 3}, False),
        ({"type": "response.function_call_arguments.delta", "delta": "{"}, True),
        ({"type": "response.output_text.delta", "delta": ""}, False),
        ({"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "so"}}, True),
        ({"type": "content_block_delta", "delta": {"type": "text_delta", "text": ""}}, False),
        ({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, False),
        (": comment", False),
    ],
)
def test_what_counts_as_content(event, content):
    _, tokens = read(sse(event))

    assert tokens == content


@pytest.mark.parametrize(
    ("event", "error", "status"),
    [
        ({"error": {"message": "too many 77", "code": 429}}, "too many #", 429),
        ({"object": "error", "message": "bad", "code": 400}, "bad", 400),
        ({"error": "out of memory"}, "out of memory", None),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, "busy", 503),
        ({"type": "error", "code": "server_error", "message": "lost"}, "lost", None),
        ({"type": "response.failed", "response": {"error": {"message": "no"}}}, "no", None),
        ({"choices": [{"index": 0, "delta": {}, "finish_reason": "abort"}]}, "given up by the engine", None),
        ("data: {broken", "an event that is not JSON", None),
    ],
)
def test_errors_within_a_stream(event, error, status):
    answer, tokens = read(sse(event))

    assert (tokens, answer.error, answer.error_status) == (0, error, status)


def test_history_is_of_the_first_choice():
    both = {"choices": [{"index": 0, "text": "a"}, {"index": 1, "text": "b"}]}

    answer, tokens = read(sse(both, both))

    assert (tokens, answer.text) == (2, "aa")


@pytest.mark.parametrize("tail", [b"data: [DONE]\n", b"data: [DONE]"])
def test_an_end_mark_without_its_empty_line_is_one(tail):
    assert read(sse(*CHAT[:-1]) + tail)[0].ended


@pytest.mark.parametrize(
    ("body", "text", "usage"),
    [
        ({"choices": [{"index": 0, "message": {"content": "hi"}}], "usage": USAGE}, "hi", (9, 2, 8)),
        ({"choices": [{"index": 0, "text": "hi"}]}, "hi", None),
        ({"output": [{"content": [{"type": "output_text", "text": "hi"}]}]}, "hi", None),
        ({"content": [{"type": "text", "text": "hi"}]}, "hi", None),
        ({"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 4}}, "", (4, 0, None)),
        ([1, 2], "", None),
    ],
)
def test_whole_answers(body, text, usage):
    answer = WholeAnswer(is_json=True)
    answer.feed(json.dumps(body).encode())
    answer.close()

    assert (answer.text, answer.usage, answer.error, answer.ended) == (text, usage, None, True)


def test_a_whole_answer_that_is_no_json():
    answer = WholeAnswer(is_json=True)
    answer.feed(b"<html>")
    answer.close()

    assert answer.error == "a body that is not JSON"


def test_errors_that_differ_in_ids_are_the_same_error():
    first, second = (in_few_words(f"request chatcmpl-{n}f3 of {n}\ntokens failed") for n in (12, 905))

    assert first == second == "request # of # tokens failed"
