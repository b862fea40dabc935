"""A conversation is known by an id in the body, or by how it began."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.request.conversation import MAX_ID_CHARS, conversation_key, stated_session
from balancer.core.types import RouteKind
from tests.core.request.bodies import BODY, MESSAGE, MESSAGES, TEXT, assistant, system, user

CHAT = RouteKind.CHAT
CLAUDE_CODE = "user_0a1b_account_2c3d_session_4e5f"


@pytest.mark.parametrize(
    "body",
    [
        {"session_id": "s"},
        {"conversation": "s"},
        {"conversation": {"id": "s"}},
        {"prompt_cache_key": "s"},
        {"vllm_xargs": {"session_id": "s"}},
        {"metadata": {"session_id": "s"}},
        {"metadata": {"conversation_id": "s", "user_id": "u"}},
        {"metadata": {"thread_id": "s"}},
        {"metadata": {"chat_id": "s"}},
        {"metadata": {"user_id": CLAUDE_CODE.replace("4e5f", "s")}},
        {"metadata": {"user_id": json.dumps({"device_id": "d", "account_uuid": "", "session_id": "s"})}},
        {"session_id": "s", "conversation": "c", "prompt_cache_key": "k", "metadata": {"session_id": "m"}},
        {"session_id": "", "conversation": None, "prompt_cache_key": 7, "metadata": {"session_id": "s"}},
    ],
)
def test_ids_that_name_a_conversation(body):
    assert stated_session(body) == "s"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user": "u"},
        {"safety_identifier": "u"},
        {"previous_response_id": "resp_1"},
        {"metadata": {"user_id": "u"}},
        {"metadata": {"user_id": "{"}},
        {"metadata": {"user_id": "{}"}},
        {"metadata": {"user_id": '{"session_id": 7}'}},
        {"metadata": {"user_id": "u_session_"}},
        {"metadata": "s"},
        {"session_id": "x" * (MAX_ID_CHARS + 1)},
        {"session_id": ["s"], "conversation": {"id": 7}},
    ],
)
def test_ids_that_do_not(body):
    assert stated_session(body) is None


@given(st.sampled_from(RouteKind), BODY)
def test_no_shape_of_body_raises(route, body):
    session = stated_session(body)
    assert session is None or 0 < len(session) <= MAX_ID_CHARS
    assert len(conversation_key(route, body, b"m")) in {0, 16}


@given(MESSAGES, st.lists(MESSAGE, max_size=3))
def test_a_conversation_is_known_by_its_first_user_turn(messages, more):
    start = [*messages, *user("first of all")]
    begun = conversation_key(CHAT, {"messages": start}, b"m")
    assert len(begun) == 16
    assert conversation_key(CHAT, {"messages": [*start, *more]}, b"m") == begun


@given(TEXT, TEXT)
def test_conversations_that_began_otherwise_are_others(one, other):
    keys = [conversation_key(CHAT, {"messages": user(f"q{text}")}, b"m") for text in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


def test_what_is_not_the_first_user_turn_does_not_count():
    said = user([{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}])
    body = {"messages": system("it is noon") + said + assistant("yes"), "temperature": 1}
    assert conversation_key(CHAT, body, b"m") == conversation_key(CHAT, {"messages": user("hi")}, b"m")
    assert conversation_key(CHAT, body, b"m") != conversation_key(CHAT, body, b"n")


def test_a_conversation_has_one_key_in_every_api():
    asked = conversation_key(CHAT, {"messages": user("hi")}, b"m")
    assert conversation_key(RouteKind.MESSAGES, {"messages": user("hi")}, b"m") == asked
    assert conversation_key(RouteKind.RESPONSES, {"input": user("hi")}, b"m") == asked
    assert conversation_key(RouteKind.RESPONSES, {"input": "hi"}, b"m") == asked
    assert conversation_key(RouteKind.OTHER, {"messages": [user("hi"), user("ho")]}, b"m") == asked


def test_a_raw_prompt_is_a_conversation_of_its_own():
    one, other = (conversation_key(RouteKind.COMPLETIONS, {"prompt": text}, b"m") for text in ("a", "b"))
    assert one != other
    assert conversation_key(RouteKind.COMPLETIONS, {"prompt": [1, 2]}, b"m")


@pytest.mark.parametrize("body", [{}, {"messages": []}, {"messages": system("x")}, {"messages": 7}])
def test_a_conversation_that_has_not_begun(body):
    assert conversation_key(CHAT, body, b"m") == b""
