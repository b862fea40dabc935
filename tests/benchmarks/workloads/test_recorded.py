"""Recordings of every format: read for what they say, and wrong ones refused by file, line and what was expected."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.workloads.recorded.lengths import Row
from benchmarks.workloads.recorded.recording import read_recording
from benchmarks.workloads.script import CHAT_PATH, COMPLETIONS_PATH

CHAT = {"model": "gpt", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 7}


@pytest.fixture
def recording(tmp_path):
    """Reads what it is given as a file: text, or objects to a line each."""

    def read(content, name="log.jsonl", **how):
        path = tmp_path / name
        if isinstance(content, list):
            content = "\n".join(map(json.dumps, content))
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_recording(path, **how)

    return read


def test_bodies_are_replayed_as_they_are_but_for_what_the_client_sets(recording):
    read = recording([CHAT, {"prompt": "once", "model": "m", "user": "ann", "logprobs": 1}])
    assert read.format == "OpenAI requests"
    chat, text = read.requests
    assert chat.ask.body == {"messages": CHAT["messages"], "max_tokens": 7}
    assert (chat.ask.path, chat.ask.stream, chat.name, chat.time_s) == (CHAT_PATH, True, "request 1", None)
    assert text.ask.body == {"prompt": "once", "user": "ann", "logprobs": 1}
    assert (text.ask.path, text.ask.stream, text.name) == (COMPLETIONS_PATH, False, "ann")


@pytest.mark.parametrize("key", ["body", "request"])
@pytest.mark.parametrize("spell", [lambda body: body, json.dumps])
@pytest.mark.parametrize("place", ["path", "url", "endpoint"])
@pytest.mark.parametrize("time", ["timestamp", "ts", "created", "time"])
def test_a_body_may_stand_in_an_envelope(recording, key, spell, place, time):
    line = {time: 12.5, place: "https://api.example/v1/responses?x=1", key: spell({"input": "hi"}), "id": 3}
    (request,) = recording([line]).requests
    assert request.ask.body == {"input": "hi"}
    assert (request.ask.path, request.time_s) == ("/v1/responses", 12.5)


def test_batch_files_are_read_and_named_by_their_ids(recording):
    line = {"custom_id": "task-9", "method": "POST", "url": "/v1/chat/completions", "body": CHAT}
    (request,) = recording([line]).requests
    assert (request.name, request.ask.path, request.time_s) == ("task-9", CHAT_PATH, None)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (1_700_000_000, 1.7e9),
        (1_700_000_000_500, 1_700_000_000.5),
        (1_700_000_000_500_000, 1_700_000_000.5),
        ("1700000000.5", 1_700_000_000.5),
        ("2023-11-14T22:13:20Z", 1.7e9),
        ("2023-11-14 22:13:20", 1.7e9),
        ("2023-11-14T23:13:20+01:00", 1.7e9),
        (0, 0.0),
    ],
)
def test_times_are_seconds_or_parts_of_them_or_dates(recording, time, seconds):
    (request,) = recording([{"ts": time, "body": CHAT}]).requests
    assert request.time_s == pytest.approx(seconds)


def test_requests_come_in_the_order_of_their_times(recording):
    lines = [{"ts": time, "body": {**CHAT, "user": str(time)}} for time in (5, 1, 3)]
    assert [request.name for request in recording(lines).requests] == ["1", "3", "5"]


def test_mooncake_s_lines_are_lengths_and_blocks(recording):
    line = {"timestamp": 1_500, "input_length": 600, "output_length": 3, "hash_ids": [4, 5]}
    read = recording([line, {**line, "timestamp": 0}])
    assert (read.format, read.rows) == ("Mooncake", (Row(0.0, 600, 3, (4, 5)), Row(1.5, 600, 3, (4, 5))))


def test_vllm_bench_s_custom_dataset_and_share_gpt_are_chats_of_one_message(recording):
    read = recording([{"prompt": "one", "output_tokens": 9}, {"prompt": "two"}])
    assert [request.ask.body["max_tokens"] for request in read.requests] == [9, 256]
    assert read.requests[0].ask.body["messages"] == [{"role": "user", "content": "one"}]
    assert read.requests[0].ask.body["ignore_eos"] is True
    said = [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "b" * 40}]
    told = [{"id": "x", "conversations": said}, {"id": "y", "conversations": said[:1]}]
    (request,) = recording(json.dumps(told, indent=1), ignore_eos=False).requests
    assert request.ask.body == {
        "messages": [{"role": "user", "content": "why?"}],
        "max_tokens": 10,
        "temperature": 0,
    }


AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:15:46.6805900,374,44\r\n"
    "2023-11-16 18:15:50.6805900,396,109\r\n"
)


@pytest.mark.parametrize("pack", [str.encode, lambda text: gzip.compress(text.encode(), mtime=0)])
def test_azure_s_rows_are_lengths_and_times_packed_or_not(recording, pack):
    read = recording(pack(AZURE))
    assert (read.format, read.rows) == ("Azure", (Row(0.0, 374, 44), Row(4.0, 396, 109)))


MOONCAKE = {"timestamp": 0, "input_length": 600, "output_length": 3, "hash_ids": [4]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "log.jsonl: expected at least one request"),
        ("hello", "log.jsonl, line 1: expected JSON lines of OpenAI"),
        ("\n{]", "log.jsonl, line 2: "),
        ("[1]", "log.jsonl: expected ShareGPT's conversations: Expected `object`"),
        (b"\xff\xfe", "log.jsonl: expected UTF-8, got something else at byte 0"),
        (gzip.compress(b"{}" * 99, mtime=0)[:-9], "log.jsonl: expected a whole gzip file"),
        ([MOONCAKE, {**MOONCAKE, "input_length": "9"}], "line 2: Expected `int`, got `str` - at `$.input_length`"),
        ([MOONCAKE, {"timestamp": 1}], "line 2: Object missing required field `input_length`"),
        ([{"prompt": "x"}, {"prompt": 3}], "line 2: Expected `str`, got `int` - at `$.prompt`"),
        ("TIMESTAMP,ContextTokens\n", "line 1: expected the columns TIMESTAMP, ContextTokens, GeneratedTokens"),
        (AZURE + "soon,1,2\n", "line 4: TIMESTAMP: expected a date and time, got 'soon'"),
        (AZURE + "2023-11-16,x,2\n", "line 4: Expected `int`, got `str` - at `$.ContextTokens`"),
        ([{"model": "m"}], "line 1: expected a request body with messages, prompt or input"),
        ([{"body": "{"}], "line 1: body: expected JSON"),
        ([{"messages": []}], "line 1: messages: expected a list of objects, at least one"),
        ([{"input": "x", "model": "m"}], "line 1: expected path, url, endpoint or messages or prompt"),
        ([{"url": "v1", "body": CHAT}], "line 1: expected a path such as /v1/chat/completions, got 'v1'"),
        ([{"method": "GET", "url": "/v1/models", "body": {}}], "line 1: method: expected POST, got 'GET'"),
        ([{"ts": "soon", "body": CHAT}], "line 1: expected seconds or an ISO 8601 time, got 'soon'"),
        ([{"ts": True, "body": CHAT}], "line 1: expected seconds or an ISO 8601 time, got True"),
        ([{"ts": 1, "body": CHAT}, {"body": CHAT}], "line 2: expected a time, as other lines have one"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_file_line_and_what_was_expected(recording, content, told):
    with pytest.raises(ValueError, match=r"^log\.jsonl") as error:
        recording(content)
    assert told in str(error.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"--workload: cannot read .*: No such file"):
        read_recording(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match=r"--workload: cannot read .*: Is a directory"):
        read_recording(tmp_path)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = (
    "messages", "prompt", "input", "body", "request", "url", "path", "ts", "timestamp", "created", "method", "custom_id",
    "user", "hash_ids", "input_length", "output_length", "output_tokens", "stream", "conversations", "value",
)  # fmt: skip
_LINES = st.lists(st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=6), min_size=1, max_size=4)


@given(
    content=st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | _LINES.map(lambda lines: "\n".join(map(json.dumps, lines)).encode())
    | _LINES.map(lambda lines: json.dumps(lines).encode())
    | st.text(alphabet="0123456789-:., T\n\"'", max_size=60).map(lambda rest: (AZURE + rest).encode())
)
def test_any_file_is_read_or_refused_in_words(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "log"
    path.write_bytes(content)
    try:
        read = read_recording(path)
    except ValueError as error:
        assert type(error) is ValueError
        assert "log" in str(error)
    else:
        assert read.rows or read.requests
