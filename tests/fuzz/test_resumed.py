"""Hostile chunks: a stream is recorded, rewritten and gone on with, or left alone, and nothing is raised."""

import json

from hypothesis import given
from hypothesis import strategies as st

from balancer.core.types import RouteKind
from balancer.vllm_api import events as sse
from balancer.vllm_api.resume import Continuation, going_on, is_sound, with_ids
from balancer.vllm_api.splice import Splice, WithoutIds, ending
from balancer.vllm_api.tape import MAX_TEXT_BYTES, Delivered, Tape
from tests.fakes.transport import cut
from tests.fuzz.answers import STREAMS
from tests.fuzz.mutations import mutated

NUMBER = st.integers(-2, 5) | st.sampled_from([10**30, -(10**30), 2**63, 0.5, True])
ANY = st.recursive(
    st.none() | st.booleans() | NUMBER | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def shaped(**fields):
    """An object with these fields, each of them at times absent or of any shape."""
    return st.fixed_dictionaries({}, optional={name: value | ANY for name, value in fields.items()}) | ANY


TEXT = st.sampled_from(["", " ", "a", "é\n", "a b"])
IDS = st.lists(st.integers(0, 9), max_size=3)
COUNTS = shaped(
    prompt_tokens=NUMBER, completion_tokens=NUMBER, prompt_tokens_details=shaped(cached_tokens=NUMBER)
)
CHOICE = shaped(
    index=st.just(0),
    delta=shaped(content=TEXT, role=st.just("assistant"), tool_calls=ANY),
    text=TEXT,
    finish_reason=st.sampled_from([None, "stop", "length", "abort"]),
    token_ids=IDS,
    prompt_token_ids=IDS,
    logprobs=st.none(),
)
CHUNK = shaped(
    id=st.just("cmpl-1"),
    created=st.just(1),
    model=st.just("m"),
    choices=st.lists(CHOICE, max_size=2),
    usage=COUNTS,
    prompt_token_ids=IDS,
)
DEEP = st.sampled_from(
    [b'{"token_ids":' + b"[" * 1200, b'{"id":"1","created":1,"model":"m","choices":[],"usage":' + b"[" * 1200]
)
EVENT = st.one_of(
    CHUNK.map(lambda chunk: b"data: " + json.dumps(chunk).encode() + b"\n\n"),
    DEEP.map(lambda data: b"data: " + data + b"\n\n"),
    st.sampled_from([sse.DONE, b": ping\n\n", b"\n\n", b"event: x\r\n\r\n", b"data\n\n"]),
    mutated([event for stream in STREAMS.values() for event in stream.events]).map(
        lambda event: event.strip(b"\r\n") + b"\n\n"
    ),
)
EVENTS = st.lists(EVENT, max_size=8)
BODY = st.fixed_dictionaries(
    {"model": st.just("m"), "stream": st.just(True), "temperature": st.just(0)},
    optional={
        "messages": st.lists(shaped(role=st.just("user"), content=TEXT), min_size=1, max_size=2),
        "prompt": TEXT | IDS | ANY,
        "max_tokens": NUMBER | ANY,
        "max_completion_tokens": NUMBER | ANY,
        "min_tokens": NUMBER | ANY,
        "stop": ANY,
        "n": ANY,
        "continue_final_message": ANY,
        "stream_options": shaped(include_usage=st.booleans()),
        "return_token_ids": ANY,
        "response_format": ANY,
    },
)
KIND = st.sampled_from([RouteKind.CHAT, RouteKind.COMPLETIONS])


def understood(delivered):
    return {name: getattr(delivered, name) for name in Delivered.__slots__}


@given(EVENTS, st.lists(st.integers(0, 9), max_size=3))
def test_a_tape_says_the_same_however_the_events_came(events, cuts):
    whole, single, grouped = Tape(), Tape(), Tape()
    whole.feed(b"".join(events))
    for event in events:
        single.feed(event)
    for group in cut(bytes(range(len(events))), cuts) if events else []:
        grouped.feed(b"".join(events[number] for number in group))
    expected = understood(whole.delivered())
    assert expected["tokens"] >= 0
    assert len(expected["text"]) <= MAX_TEXT_BYTES
    for found in (understood(single.delivered()), understood(grouped.delivered())):
        assert found == expected if expected["sound"] else not found["sound"]


@given(EVENTS)
def test_what_takes_ids_out_leaves_none_and_keeps_the_rest(events):
    rewritten = WithoutIds().feed(b"".join(events))
    assert rewritten == b"".join(map(WithoutIds().feed, events))
    for before, after in zip(sse.payloads(b"".join(events)), sse.payloads(rewritten), strict=True):
        if before == after:
            continue
        chunk, was = json.loads(after), json.loads(before)
        choices = chunk.get("choices")
        held = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
        assert not any("prompt_token_ids" in each for each in (chunk, *held))
        assert not any("token_ids" in each for each in held)
        assert set(was) - set(chunk) <= {"prompt_token_ids"}


@given(
    EVENTS,
    st.builds(
        Continuation,
        path=st.just("/"),
        body=st.just(b"{}"),
        delivered_tokens=st.integers(0, 3),
        prompt_tokens=st.none() | st.integers(0, 9),
        text=st.sampled_from(["", "a"]),
        owed=st.sampled_from(["", " ", " \n", "ab"]),
        muted=st.booleans(),
    ),
    st.booleans(),
    st.booleans(),
)
def test_a_splice_gives_whole_events_of_one_answer_and_says_the_same_however_they_came(
    events, rest, chat, ids
):
    delivered = Delivered(id="first", created=7, model="m")
    once, singly = (Splice(delivered, rest, chat=chat, ids=ids) for _ in range(2))
    given_events = once.begin() + once.feed(b"".join(events))
    assert given_events == singly.begin() + b"".join(map(singly.feed, events))
    assert once.usage == singly.usage
    assert sse.split(given_events)[1] == b""
    for data in sse.payloads(given_events):
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            continue
        if isinstance(chunk, dict) and isinstance(chunk.get("choices"), list):
            assert (chunk["id"], chunk["created"], "prompt_token_ids" in chunk) == ("first", 7, False)
    if once.usage is not None:
        assert min(once.usage[:2]) >= 0


@given(KIND, BODY, EVENTS, st.none() | st.integers(1, 100))
def test_what_is_gone_on_with_is_json_and_asks_for_no_more_than_is_left(kind, body, events, context_tokens):
    raw = json.dumps(body).encode()
    if not is_sound(kind, body, sampled=False):
        return
    assert json.loads(with_ids(body, raw)) == body | {"return_token_ids": True}
    tape = Tape()
    tape.feed(b"".join(events))
    delivered = tape.delivered()
    rest = going_on(kind, body, delivered, context_tokens=context_tokens)
    if rest is None:
        return
    if rest.body is None:
        end = ending(delivered, rest, chat=kind is RouteKind.CHAT, usage=True)
        assert sse.payloads(end)[-1] == b"[DONE]"
        return
    asked = json.loads(rest.body)
    assert asked["stream"] is True
    limit = asked.get("max_completion_tokens", asked.get("max_tokens"))
    if isinstance(limit, int) and not isinstance(limit, bool):
        assert limit > 0
    assert json.loads(raw) == body  # the client's own is not touched
