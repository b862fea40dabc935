import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.tiering.text import BEFORE_CHARACTERS, END_CHARACTERS, bounded, read_text
from balancer.core.types import RouteKind


def user(content):
    return {"role": "user", "content": content}


def test_a_chat():
    text = read_text(
        RouteKind.CHAT,
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                user("first"),
                {"role": "assistant", "content": "an answer"},
                user(
                    [
                        {"type": "text", "text": "second"},
                        {"type": "image_url", "image_url": {"url": "data:..."}},
                    ]
                ),
            ],
            "tools": [{}, {}],
            "max_tokens": 7,
            "response_format": {"type": "json_schema", "json_schema": {}},
        },
    )
    assert (text.last, text.last_bytes, text.before, text.system) == ("second", 6, "first", "Be brief.")
    assert (text.turns, text.images, text.audio, text.tools) == (2, 1, 0, 2)
    assert (text.structured, text.answer_tokens) == (True, 7)


def test_messages():
    text = read_text(
        RouteKind.MESSAGES,
        {
            "system": [{"type": "text", "text": "S"}],
            "messages": [
                user("asked"),
                {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
                user(
                    [
                        {
                            "type": "tool_result",
                            "tool_use_id": "a",
                            "content": [{"type": "image", "source": {}}],
                        }
                    ]
                ),
            ],
            "max_tokens": 100,
        },
    )
    assert (text.last, text.system, text.turns, text.images, text.answer_tokens) == ("asked", "S", 1, 1, 100)


@pytest.mark.parametrize(
    ("given_input", "last", "audio"),
    [
        ("asked", "asked", 0),
        (
            [user([{"type": "input_text", "text": "asked"}, {"type": "input_audio", "input_audio": {}}])],
            "asked",
            1,
        ),
        ([user("asked"), {"type": "function_call_output", "call_id": "a", "output": "42"}], "asked", 0),
    ],
)
def test_responses(given_input, last, audio):
    text = read_text(
        RouteKind.RESPONSES,
        {
            "input": given_input,
            "instructions": "I",
            "text": {"format": {"type": "json_object"}},
            "max_output_tokens": 9,
        },
    )
    assert (text.last, text.audio, text.system) == (last, audio, "I")
    assert (text.structured, text.answer_tokens, text.turns) == (True, 9, 1)


@pytest.mark.parametrize(
    ("prompt", "last"), [("asked", "asked"), (["asked", "other"], "asked"), ([1, 2, 3], ""), ([], "")]
)
def test_completions(prompt, last):
    assert read_text(RouteKind.COMPLETIONS, {"prompt": prompt}).last == last


@pytest.mark.parametrize("route", [RouteKind.EMBEDDINGS, RouteKind.TOKENIZE, RouteKind.AUDIO])
def test_other_routes_have_no_text(route):
    assert read_text(route, {"messages": [user("x")]}).turns == 0


def test_of_a_long_turn_both_ends_are_kept():
    long = "a" * 10_000 + "b" * 1_000_000
    text = read_text(RouteKind.CHAT, {"messages": [user(long)]})
    assert text.last == "a" * END_CHARACTERS + "\n" + "b" * END_CHARACTERS
    assert text.last_bytes == 1_010_000
    assert bounded("short") == "short"


def test_bytes_of_a_long_turn_are_about_right():
    text = read_text(RouteKind.CHAT, {"messages": [user("한" * 200_000)]})
    assert abs(text.last_bytes - 600_000) < 1_000


def test_of_turns_before_the_newest_are_kept():
    turns = [user(f"{i} " * 500) for i in range(10)] + [user("now")]
    text = read_text(RouteKind.CHAT, {"messages": turns})
    assert len(text.before) <= BEFORE_CHARACTERS + len(turns)
    assert "9 " in text.before
    assert "1 " not in text.before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "type",
                    "text",
                    "messages",
                    "input",
                    "prompt",
                    "system",
                    "format",
                    "tools",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(
    st.sampled_from([RouteKind.CHAT, RouteKind.MESSAGES, RouteKind.RESPONSES, RouteKind.COMPLETIONS]),
    st.dictionaries(
        st.sampled_from(["messages", "input", "prompt", "system", "instructions", "tools", "max_tokens"]),
        JSON,
    ),
)
def test_any_body_has_a_text(route, body):
    text = read_text(route, body)
    assert len(text.last) <= 2 * END_CHARACTERS + 1
    assert text.turns >= 0
