"""Any bytes are read as far as they can be, and never answered by the balancer."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from balancer.core.prefix.blocks import BLOCK_BYTES
from balancer.core.request.multipart import MAX_FIELD_BYTES, form_field
from balancer.core.request.parse import read_form, read_request, retargeted
from balancer.core.request.tokens import TokenEstimator
from balancer.core.types import Reads, RouteKind
from tests.core.request.bodies import BODY

DEEP = b'{"model": "m", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
DEEP_BUT_READABLE = [
    b'{"messages": [{"role": "user", "content": [{"x": %s}]}]}' % (b"[" * depth + b"]" * depth)
    for depth in (100, 900, 960, 1000)
]
DEEPER_THAN_PYTHON = b'{"model": "m", "stream": NaN, "messages": ' + b"[" * 100_000
CHAT = RouteKind.CHAT
EVERY_LEVEL = pytest.mark.parametrize("reads", Reads)


@given(st.sampled_from(RouteKind), st.binary(max_size=60))
@example(CHAT, DEEP)
@example(CHAT, DEEPER_THAN_PYTHON)
@example(CHAT, DEEP_BUT_READABLE[0])
@example(CHAT, DEEP_BUT_READABLE[1])
@example(CHAT, DEEP_BUT_READABLE[2])
@example(CHAT, DEEP_BUT_READABLE[3])
@example(CHAT, b'{"model": "\\ud800"}')
@example(CHAT, b'{"model": ' + b"9" * 5000 + b"}")
@example(CHAT, b"\xff\xfe{\x00}\x00")
def test_arbitrary_bytes_never_raise(route, body):
    for reads in Reads:
        assert read_request(route, body, reads).route is route


VALUE = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


@given(
    st.dictionaries(
        st.sampled_from(["model", "stream", "previous_response_id", "messages", "x"]), VALUE, max_size=5
    ),
    st.booleans(),
)
def test_all_levels_agree(body, ascii_only):
    raw = json.dumps(body, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    views = [read_request(CHAT, raw, reads) for reads in Reads]
    stated = {
        name: body[name] for name in ("model", "previous_response_id") if isinstance(body.get(name), str)
    }
    for view in views:
        assert view.stream == (body.get("stream") is True)
        assert view.model == stated.get("model")
        assert view.previous_response == stated.get("previous_response_id")


@EVERY_LEVEL
def test_the_last_of_two_equal_keys_holds_as_it_does_for_vllm(reads):
    assert (
        read_request(CHAT, b'{"model": "a", "stream": false, "model": "b", "stream": true}', reads).model
        == "b"
    )
    assert read_request(CHAT, b'{"model": "a", "stream": true, "stream": false}', reads).stream is False


@EVERY_LEVEL
@pytest.mark.parametrize("odd", [b"NaN", b"Infinity", b"-Infinity", b'"\\ud800"', b"1e999"])
def test_what_python_reads_is_read(reads, odd):
    view = read_request(
        CHAT, b'{"x": %s, "model": "m", "stream": true, "previous_response_id": "r"}' % odd, reads
    )
    assert (view.model, view.stream, view.previous_response) == ("m", True, "r")


@EVERY_LEVEL
@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"x"', b"7", b"{", b'{"model": 7, "stream": "true"}', b"\xff"]
)
def test_an_unreadable_body_asks_for_nothing_in_particular(reads, body):
    view = read_request(CHAT, body, reads)
    assert (view.model, view.stream, view.block_keys, view.previous_response) == (None, False, [], None)


@EVERY_LEVEL
def test_a_field_behind_one_that_is_nested_deeply_does_not_matter(reads):
    view = read_request(CHAT, b'{"messages": ' + b"[" * 200 + b"]" * 200 + b', "model": "m"}', reads)
    assert view.model == "m"


def test_only_what_is_asked_for_is_read():
    def read(reads, **more):
        body = {"model": "m", "session_id": "s", "messages": [{"role": "user", "content": "x" * 400}], **more}
        return read_request(CHAT, json.dumps(body).encode(), reads)

    envelope, conversation, prompt = map(read, Reads)
    assert (envelope.conversation, envelope.session, envelope.block_keys) == (b"", None, [])
    assert (conversation.session, conversation.block_keys, conversation.prompt_bytes) == ("s", [], 0)
    assert prompt.conversation == conversation.conversation != b""
    assert prompt.session == "s"
    assert len(prompt.block_keys) == 1
    assert 400 <= prompt.prompt_bytes <= 410
    assert 100 <= prompt.prompt_tokens <= 110
    assert read(Reads.PROMPT, temperature=1).block_keys == prompt.block_keys
    for apart in ({"cache_salt": "s"}, {"model": "n"}):
        assert read(Reads.PROMPT, **apart).block_keys != prompt.block_keys
        assert read(Reads.PROMPT, **apart).conversation != prompt.conversation


def test_what_was_learned_of_a_model_counts():
    tokens = TokenEstimator()
    for _ in range(100):
        tokens.observe("m", 1000, 500)
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * 4000}]}
    view = read_request(CHAT, json.dumps(body).encode(), Reads.PROMPT, tokens)
    assert view.prompt_tokens == pytest.approx(2000, rel=0.05)
    assert not view.tokens_exact


def test_token_ids_are_counted_not_estimated():
    tokens = TokenEstimator()
    tokens.observe("m", 1000, 500)
    view = read_request(
        RouteKind.COMPLETIONS, b'{"model": "m", "prompt": [%s7]}' % (b"7," * 99), Reads.PROMPT, tokens
    )
    assert (view.prompt_tokens, view.tokens_exact, view.prompt_bytes) == (100, True, 400)


@given(st.sampled_from(RouteKind), BODY)
def test_arbitrary_json_never_raises_and_stays_bounded(route, body):
    raw = json.dumps(body).encode()
    view = read_request(route, raw, Reads.PROMPT)
    assert len(view.block_keys) == view.prompt_bytes // BLOCK_BYTES
    assert view.prompt_bytes <= 20_000 * (1 + raw.count(b"{")) + 4 * len(raw)
    assert len(view.conversation) in {0, 16}


BOUNDARY = "----b0undary"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def form(fields, boundary=BOUNDARY):
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode()
        + value
        + b"\r\n"
        for name, more, value in fields
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


SOUND = (
    "file",
    '; filename="model.wav"\r\nContent-Type: audio/wav',
    b'RIFF\r\n\r\n--name="model"\x00\xff\r\n-',
)


@given(st.permutations([SOUND, ("model", "", b"m"), ("stream", "", b"true"), ("language", "", b"model")]))
def test_fields_of_a_form_may_stand_anywhere(fields):
    view = read_form(RouteKind.AUDIO, form(fields), TYPE)
    assert (view.model, view.stream) == ("m", True)


@given(st.binary(max_size=80), st.text(max_size=30))
def test_arbitrary_forms_never_raise(body, content_type):
    read_form(RouteKind.AUDIO, body, content_type)
    read_form(RouteKind.AUDIO, b"--x" + body, "multipart/form-data; boundary=x")


@given(st.data())
def test_a_form_that_is_cut_short_never_raises(data):
    body = form([SOUND, ("model", "", b"m")])
    read_form(RouteKind.AUDIO, body[: data.draw(st.integers(0, len(body)))], TYPE)


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/form-data; boundary="----b0undary"',
        "multipart/form-data; charset=utf-8; Boundary=----b0undary; x=y",
    ],
)
def test_ways_to_write_a_boundary(content_type):
    assert form_field(form([("model", "", b"m")]), content_type, "model") == "m"


@pytest.mark.parametrize("value", [b"", b"x" * (MAX_FIELD_BYTES + 1)])
def test_a_field_of_no_use_is_none(value):
    assert form_field(form([("model", "", value)]), TYPE, "model") is None


def test_no_boundary_no_field():
    assert form_field(form([("model", "", b"m")]), "multipart/form-data", "model") is None
    assert (
        form_field(form([("model", "", b"m")]), f"multipart/form-data; boundary={'x' * 99}", "model") is None
    )


@given(model=st.sampled_from(["a", "b", "x" * 300]), salt=st.text(max_size=5), said=st.text(max_size=3000))
def test_a_retargeted_request_has_the_keys_and_tokens_of_one_that_names_the_model(model, salt, said):
    def read(named, **rest):
        fields = {"model": named, "cache_salt": salt, "messages": [{"role": "user", "content": said}]}
        return read_request(CHAT, json.dumps(fields).encode(), Reads.PROMPT, tokens, **rest)

    tokens = TokenEstimator()
    tokens.observe(model, 3000, 1000)
    found = retargeted(read("auto", keep_prompt=True), model, None, tokens)
    named = read(model)
    assert (found.model, found.block_keys, found.prompt_tokens) == (
        model,
        named.block_keys,
        named.prompt_tokens,
    )


def test_a_retargeted_request_keeps_all_else():
    body = json.dumps(
        {"model": "auto", "stream": True, "priority": 3, "prompt": [1, 2, 3], "session_id": "s"}
    ).encode()
    view = read_request(RouteKind.COMPLETIONS, body, Reads.PROMPT, keep_prompt=True)
    view.tenant = "t"
    found = retargeted(view, "m", frozenset({"r"}), TokenEstimator())
    assert (found.stream, found.priority, found.session, found.tenant) == (True, 3, "s", "t")
    assert (found.prompt_tokens, found.tokens_exact, found.among) == (3, True, frozenset({"r"}))


def test_without_its_prompt_only_the_name_changes():
    view = read_request(CHAT, b'{"model": "auto"}', Reads.ENVELOPE)
    found = retargeted(view, "m", None, TokenEstimator())
    assert (found.model, found.block_keys, view.model) == ("m", [], "auto")
