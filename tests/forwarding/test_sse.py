"""The scanner tells the same of a stream however it is cut."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from balancer.forwarding.sse import MAX_EVENT_BYTES, SseScanner
from balancer.vllm_api.answers import Usage
from tests.fakes.transport import bytewise, cut

TELLS = ("data_seen", "token_seen", "failed", "error_code", "answer_id", "events")


def told(pieces):
    scanner = SseScanner()
    for piece in pieces:
        scanner.feed(piece)
    return {name: getattr(scanner, name) for name in TELLS} | {"usage": scanner.usage()}


def data(value):
    return "data: " + (value if isinstance(value, str) else json.dumps(value)) + "\n\n"


ROLE = data({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
TOKEN = data({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": "a\u2028b"}}]})
USAGE = data({"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}})
NO_USAGE = data({"id": "chatcmpl-1", "choices": [], "usage": None})
BUSY = data({"error": {"message": "busy", "type": "ServiceUnavailableError", "code": 503}})
DONE = data("[DONE]")
COMMENT = ": keep-alive\n\n"
SPREAD = 'event: x\nid: 1\ndata: {"id": "spread",\ndata:"choices": [{"text": "t"}]}\n\n'
OTHERS = ("retry: 5\n\n", "\n", "data\n\n", data(""), data("{"), data([1]), data({"error": None}), "junk\n\n")
PIECES = (ROLE, TOKEN, USAGE, BUSY, DONE, COMMENT, SPREAD, *OTHERS)

STREAM = st.tuples(
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join), st.sampled_from(["\n", "\r\n"])
).map(lambda drawn: drawn[0].replace("\n", drawn[1]).encode())


@given(STREAM, st.lists(st.integers(0, 600), max_size=12))
def test_any_cut_tells_the_same(stream, cuts):
    whole = told([stream])
    assert told(bytewise(stream)) == whole
    assert told(cut(stream, cuts)) == whole


@given(STREAM)
def test_every_single_cut_tells_the_same(stream):
    whole = told([stream])
    for at in range(len(stream)):
        assert told([stream[:at], stream[at:]]) == whole, at


@pytest.mark.parametrize("cuts", [[], [len(USAGE)]])
def test_usage_is_not_lost_to_a_later_event_without_one(cuts):
    assert told(cut((USAGE + NO_USAGE + DONE).encode(), cuts))["usage"] == Usage(7, 2)


@given(st.binary(max_size=80), st.lists(st.integers(0, 80), max_size=5))
@example(b"\n\n\n\ndata: {}\n\r\n\n", [3])
def test_arbitrary_bytes_never_raise(stream, cuts):
    told(cut(stream, cuts))
    told(bytewise(stream))


@pytest.mark.parametrize(
    ("stream", "tells"),
    [
        (COMMENT, {"data_seen": False}),
        ("event: ping\n\n", {"data_seen": False}),
        (ROLE, {"data_seen": True, "token_seen": False, "answer_id": "chatcmpl-1"}),
        (ROLE + TOKEN, {"token_seen": True}),
        (COMMENT + BUSY, {"failed": True, "error_code": 503, "token_seen": False}),
        (TOKEN + BUSY, {"failed": True, "error_code": 503, "token_seen": True}),
        (TOKEN[:-1], {"data_seen": False}),
        (DONE, {"data_seen": True, "failed": False}),
        (data({"object": "error", "message": "old", "code": 400}), {"failed": True, "error_code": 400}),
        (data({"error": {"message": "x", "code": "oops"}}), {"failed": True, "error_code": None}),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_events_tell(stream, tells, end):
    found = told([stream.replace("\n", end).encode()])
    assert {name: found[name] for name in tells} == tells


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"reasoning_content": "x"},
        {"reasoning": "x"},
        {"tool_calls": [{"index": 0}]},
        {"refusal": "no"},
    ],
)
def test_all_that_is_generated_ends_ttft(delta):
    assert told([data({"choices": [{"delta": delta}]}).encode()])["token_seen"]


def test_the_other_apis():
    created = 'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_1"}}\n\n'
    delta = 'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"a"}\n\n'
    usage = {"input_tokens": 9, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 8}}
    completed = data({"type": "response.completed", "response": {"id": "resp_1", "usage": usage}})
    responses = told([(created + delta + completed).encode()])
    assert (responses["answer_id"], responses["usage"]) == ("resp_1", Usage(9, 1, 8))
    assert not told([created.encode()])["token_seen"]

    start = data({"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 4}}})
    block = data({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}})
    end = data({"type": "message_delta", "usage": {"input_tokens": 4, "output_tokens": 3}})
    messages = told([start.encode(), block.encode(), end.encode()])
    assert (messages["answer_id"], messages["usage"], messages["token_seen"]) == ("msg_1", Usage(4, 3), True)


@given(
    st.integers(1, MAX_EVENT_BYTES // 8), st.integers(9_999, MAX_EVENT_BYTES), st.sampled_from(["\n", "\r\n"])
)
def test_an_event_too_long_to_keep_does_not_lose_the_next(size, step, end):
    long = data({"choices": [{"delta": {"content": "x" * (MAX_EVENT_BYTES + size)}}]})
    stream = (ROLE + long + USAGE + DONE).replace("\n", end).encode()
    scanner = SseScanner()
    for piece in cut(stream, range(0, len(stream), step)):
        scanner.feed(piece)
        assert len(scanner._carry) <= MAX_EVENT_BYTES
    assert (scanner.token_seen, scanner.failed, scanner.usage()) == (True, False, Usage(7, 2))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_event_too_long_to_keep_ends_where_it_ends(end):
    long = data({"choices": [{"delta": {"content": "x" * MAX_EVENT_BYTES}}]}).replace("\n", end)
    stream = (long + BUSY.replace("\n", end)).encode()
    for at in range(len(long) - 5, len(long) + 1):
        assert told([stream[:at], stream[at:]])["error_code"] == 503, at
        assert told([stream[:at], *bytewise(stream[at:])])["error_code"] == 503, at


def test_an_event_that_never_ends_costs_no_memory():
    scanner = SseScanner()
    for _ in range(100):
        scanner.feed(b"data: " + b"x" * 50_000)
        assert len(scanner._carry) <= MAX_EVENT_BYTES
    assert scanner.data_seen
    scanner.feed(("\n\n" + BUSY).encode())
    assert scanner.error_code == 503


def test_a_responses_stream_that_repeats_long_instructions_tells_its_id_and_usage():
    made = {"id": "resp_1", "instructions": "x" * 300_000}
    first = data({"type": "response.created", "response": made})
    last = data(
        {"type": "response.completed", "response": made | {"usage": {"input_tokens": 9, "output_tokens": 2}}}
    )
    for step in (1_000, 64 * 1024):
        stream = (first + last).encode()
        seen = told(cut(stream, range(0, len(stream), step)))
        assert (seen["answer_id"], seen["usage"], seen["token_seen"]) == ("resp_1", Usage(9, 2), False)
