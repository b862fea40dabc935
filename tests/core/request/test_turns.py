"""Conversations that vLLM hands to the chat template alike have equal bytes, and the other way round."""

import pytest
from hypothesis import given

from tests.core.request.bodies import (
    ASSISTANT,
    MESSAGE,
    MESSAGES,
    TEXT,
    USER,
    anthropic,
    assistant,
    chat,
    responses,
    system,
    user,
)


@given(MESSAGES, MESSAGE)
def test_a_growing_conversation_keeps_its_bytes(messages, more):
    assert chat([*messages, more]).startswith(chat(messages))


@given(MESSAGES, ASSISTANT, USER)
def test_an_answer_that_comes_back_as_history_keeps_the_prefix(messages, answer, question):
    asked = [*messages, question]
    assert chat([*asked, answer, question]).startswith(chat([*asked, answer]))
    assert chat([*asked, answer]).startswith(chat(asked))


def _as_rendered(messages):
    """Neighbouring texts are one, joined by a newline; empty ones are none."""
    return [
        {**message, "content": _joined(message["content"]), "tool_calls": message.get("tool_calls")}
        for message in messages
    ]


def _joined(content):
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    joined = []
    for part in parts:
        if "image_url" in part:
            joined.append(part["image_url"])
        elif part["text"] and joined and isinstance(joined[-1], str):
            joined[-1] += "\n" + part["text"]
        elif part["text"]:
            joined.append(part["text"])
    return joined


@given(MESSAGES, MESSAGES)
def test_conversations_that_differ_have_bytes_that_differ(one, other):
    assert (chat(one) == chat(other)) == (_as_rendered(one) == _as_rendered(other))


@given(MESSAGES)
def test_frames_cannot_be_imitated(messages):
    """The number of turns can be told from the bytes, whatever stands in the texts."""
    assert chat(messages).count(b"\xff") == len(messages)


@given(TEXT)
def test_a_string_is_one_text_part(text):
    assert chat(user(text)) == chat(user([{"type": "text", "text": text}])) == chat(user([text]))


def test_texts_are_joined_by_a_newline():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": ""}, {"type": "text", "text": "b"}]
    assert chat(user(parts)) == chat(user("a\nb"))
    assert chat(user(parts)) != chat(user("ab"))


@pytest.mark.parametrize(
    "unseen",
    [
        {"refusal": None, "audio": None, "annotations": []},
        {"function_call": {"name": "f"}},
        {"tool_calls": []},
        {"tool_calls": None},
        {"reasoning": None},
        {"content": [{"type": "text", "text": "yes", "cache_control": {"type": "ephemeral"}}]},
        {"content": [{"type": "text", "text": None}, {"type": "refusal", "refusal": "yes"}]},
    ],
)
def test_what_no_template_sees_is_left_out(unseen):
    assert chat(assistant("yes") + user("go on")) == chat([{**assistant("yes")[0], **unseen}, *user("go on")])


CALLS = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize(
    "seen",
    [
        {"role": "user"},
        {"content": "no"},
        {"name": "bob"},
        {"reasoning": "hm"},
        {"tool_calls": CALLS},
        {"tool_calls": CALLS * 2},
    ],
)
def test_what_a_template_sees_tells_apart(seen):
    assert chat(assistant("yes") + user("go on")) != chat([{**assistant("yes")[0], **seen}, *user("go on")])


@pytest.mark.parametrize("field", ["id", "name", "arguments"])
def test_calls_are_told_apart_by_all_that_is_in_them(field):
    def made(value):
        call = {"id": "1", "function": {"name": "f", "arguments": '{"a": 1}'}}
        (call if field == "id" else call["function"])[field] = value
        return chat(assistant(None, tool_calls=[call]))

    assert made("x") != made("y")


def test_a_call_without_arguments():
    def made(arguments):
        return chat(
            assistant(None, tool_calls=[{"id": "1", "function": {"name": "f", "arguments": arguments}}])
        )

    assert made("") == made(None) == made("{}") == made({})


def test_reasoning_under_its_old_name():
    assert chat(assistant("yes", reasoning="hm")) == chat(assistant("yes", reasoning_content="hm"))


def test_tools_of_a_developer_message():
    def said(tools):
        return chat([{"role": "developer", "content": "x", "tools": tools}, *user("hi")])

    assert said([{"name": "f"}]) != said([{"name": "g"}]) != said(None) == said([])


BILLING = "x-anthropic-billing-header: cch=%d;"


def test_a_billing_header_is_taken_out_as_vllm_does():
    bare = chat(system("be kind") + user("hi"))
    for number in range(2):
        header = BILLING % number
        assert chat(system(f"{header}\nbe kind") + user("hi")) == bare
        assert chat(system([{"type": "text", "text": header}, "be kind"]) + user("hi")) == bare
        assert chat(system([f"{header}\nbe kind"]) + user("hi")) == bare
        blocks = [{"type": "text", "text": header}, {"type": "text", "text": "be kind"}]
        assert anthropic(user("hi"), system=blocks) == bare
        assert anthropic(user("hi"), system=f"{header}\nbe kind") == bare
        assert anthropic(user("hi") + system(header)) == chat(user("hi"))
    assert chat(user(BILLING % 1)) != chat(user(BILLING % 2))


def test_the_same_question_in_every_api():
    openai = chat(system("be kind") + user("hi"))
    assert responses("hi", instructions="be kind") == openai
    assert responses(user("hi"), instructions="be kind") == openai
    assert responses(user([{"type": "input_text", "text": "hi"}]), instructions="be kind") == openai
    assert anthropic(user("hi"), system="be kind") == openai
    assert anthropic(user([{"type": "text", "text": "hi"}]), system="be kind") == openai


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}


def test_a_round_with_a_tool_in_every_api():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    openai = chat(
        [
            *user("look"),
            *assistant("I will", reasoning="hm", tool_calls=[call]),
            {"role": "tool", "tool_call_id": "c", "content": "done\nwell"},
            *user([PICTURE]),
            *user("thanks"),
        ]
    )
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
    results = [{"type": "text", "text": "done"}, picture, {"type": "text", "text": "well"}]
    said = [
        {"type": "thinking", "thinking": "hm", "signature": "zzz"},
        {"type": "redacted_thinking", "data": "zzz"},
        {"type": "text", "text": "I will", "cache_control": {"type": "ephemeral"}},
        {"type": "tool_use", "id": "c", "name": "f", "input": '{"a": 1}'},
    ]
    back = [
        {"type": "text", "text": "thanks"},
        {"type": "tool_result", "tool_use_id": "c", "content": results, "is_error": False},
    ]
    assert anthropic(user("look") + assistant(said) + user(back)) == openai

    def items(mark):
        return [
            {"type": "message", **user("look")[0]},
            {
                "type": "reasoning",
                "id": mark,
                "summary": [],
                "content": [{"type": "reasoning_text", "text": "hm"}],
            },
            {
                "type": "message",
                "id": mark,
                "status": "completed",
                **assistant([{"type": "output_text", "text": "I will", "annotations": []}])[0],
            },
            {
                "type": "function_call",
                "id": mark,
                "status": "completed",
                "call_id": "c",
                "name": "f",
                "arguments": '{"a": 1}',
            },
            {"type": "function_call_output", "id": mark, "call_id": "c", "output": "done\nwell"},
            *user([{"type": "input_image", "image_url": "data:image/png;base64,QUJD"}]),
            *user("thanks"),
        ]

    assert responses(items("one")) == responses(items("two")) == openai
    for length in range(8):
        assert openai.startswith(responses(items("one")[:length]))


def test_items_out_of_order_and_unknown_ones():
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    assert responses([call]) == chat(assistant(None, tool_calls=[{**CALLS[0], "id": "c"}]))
    assert responses([call, *assistant("so")]).startswith(responses([call]))
    assert responses([{**call, "namespace": "a"}]) != responses([{**call, "namespace": "b"}])
    assert responses([{"type": "odd", "id": "1", "x": 1}]) == responses([{"type": "odd", "id": "2", "x": 1}])
    assert responses([{"type": "odd", "x": 1}]) != responses([{"type": "odd", "x": 2}])
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
    assert responses([thought]) == chat(assistant(None, reasoning="hm"))


def test_a_user_who_only_returns_results_says_nothing_else():
    result = {"type": "tool_result", "tool_use_id": "c", "content": "done"}
    assert anthropic(user([result])) == chat([{"role": "tool", "tool_call_id": "c", "content": "done"}])


def test_what_a_tool_returns_besides_texts():
    def returned(*parts):
        return anthropic(user([{"type": "tool_result", "tool_use_id": "c", "content": list(parts)}]))

    texts = {"type": "text", "text": "a"}, {"type": "text", "text": ""}, {"type": "text", "text": "b"}
    assert returned(*texts) == chat([{"role": "tool", "tool_call_id": "c", "content": "a\n\nb"}])
    one, other = ({"type": "tool_reference", "tool_name": name} for name in "fg")
    assert returned(*texts) != returned(*texts, one) != returned(*texts, other)
    assert returned(*texts, one).startswith(returned(*texts))
    assert returned(None, "x", {}) == returned()


def test_an_answer_of_two_parts_is_known_by_its_first_as_vllm_has_it():
    parts = [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}]
    assert responses(assistant(parts)) == responses(assistant("a"))


def test_blocks_of_a_system_prompt_are_one_text():
    blocks = [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "b"},
    ]
    assert anthropic(user("hi"), system=blocks) == anthropic(user("hi"), system="ab")
    assert anthropic(user("hi"), system=[]) == anthropic(user("hi"), system="") == anthropic(user("hi"))


def test_lone_surrogates_are_text_as_any():
    assert chat(user("\ud800")) != chat(user("\ud801"))
    assert chat(user("\ud800x")).startswith(chat(user("\ud800")))
    assert chat(user([{"type": "odd", "value": "\ud800"}])) != chat(
        user([{"type": "odd", "value": "\ud801"}])
    )
